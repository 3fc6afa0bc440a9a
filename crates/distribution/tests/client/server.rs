//! A server that answers as a test says, as the registry that the client talks to.

use modelpack_distribution::client::{Client, ClientOptions, Credentials, RemoteRepository};
pub(crate) use modelpack_testkit::server::{Answer, Asked, Server, answer, cut, pieces};

/// The repositories of a server.
pub(crate) trait AsRegistry {
    /// The repository `a/b`, for a client with these logins.
    fn repository_with(&self, credentials: Credentials) -> RemoteRepository;

    /// The repository `a/b`, for a client without logins.
    fn repository(&self) -> RemoteRepository {
        self.repository_with(Credentials::default())
    }
}

impl AsRegistry for Server {
    fn repository_with(&self, credentials: Credentials) -> RemoteRepository {
        let client = Client::new(ClientOptions::default().credentials(credentials)).unwrap();
        client.repository(&format!("{}/a/b", self.address).parse().unwrap()).unwrap()
    }
}
