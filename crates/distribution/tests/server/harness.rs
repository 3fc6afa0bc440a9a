//! A registry on a free port, and requests to it.

use modelpack_distribution::server::{Registry as View, RegistryOptions};
use modelpack_server::{Server, ServerOptions};
use modelpack_spec::{Algorithm, Descriptor, Digest, Hasher, RepositoryName, media_type};
use modelpack_store::{Store, Untagged};
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::oneshot,
    task::JoinHandle,
};

/// A client with its own connections. It uses plain HTTP, but `reqwest` needs a TLS provider in a
/// build of the whole workspace.
pub(crate) fn http_client() -> Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder().no_proxy().build().unwrap()
}

pub(crate) struct Registry {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) running: JoinHandle<modelpack_transfer::Result<()>>,
    _directory: Option<TempDir>,
}

impl Registry {
    pub(crate) async fn start() -> Self {
        Self::start_with(ServerOptions::default()).await
    }

    pub(crate) async fn start_with(options: ServerOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let registry = Self::start_in(directory.path(), options).await;
        Self { _directory: Some(directory), ..registry }
    }

    pub(crate) async fn start_in(directory: &Path, options: ServerOptions) -> Self {
        let (store, server) = Self::bind_in(directory, options).await;
        let view = View::new(server.repositories(), RegistryOptions::default());
        Self::run(store, server.with_view(view))
    }

    /// A server without a view, over the store in `directory`.
    pub(crate) async fn bind_in(directory: &Path, options: ServerOptions) -> (Store, Server) {
        let store = Store::open(directory, Untagged::Keep).unwrap();
        let server = Server::bind(store.clone(), "127.0.0.1:0".parse().unwrap(), options).await.unwrap();
        (store, server)
    }

    pub(crate) fn run(store: Store, server: Server) -> Self {
        let address = server.address();
        let (stop, stopped) = oneshot::channel::<()>();
        let running = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        let client = http_client();
        Self { store, address, client, stop, running, _directory: None }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(self.url(path))
    }

    pub(crate) fn head(&self, path: &str) -> RequestBuilder {
        self.client.head(self.url(path))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.client.post(self.url(path))
    }

    pub(crate) fn patch(&self, path: &str) -> RequestBuilder {
        self.client.patch(self.url(path))
    }

    pub(crate) fn put(&self, path: &str) -> RequestBuilder {
        self.client.put(self.url(path))
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(self.url(path))
    }

    /// Pushes a blob in one request.
    pub(crate) async fn push_blob(&self, name: &str, content: impl Into<Vec<u8>>) -> Digest {
        let content = content.into();
        let digest = Digest::of(&content);
        let pushed = self.post(&format!("/v2/{name}/blobs/uploads/?digest={digest}")).body(content).send().await.unwrap();
        assert_eq!(pushed.status(), StatusCode::CREATED);
        digest
    }

    /// Starts an upload and returns its location.
    pub(crate) async fn begin(&self, name: &str) -> String {
        let begun = self.post(&format!("/v2/{name}/blobs/uploads/")).send().await.unwrap();
        assert_eq!(begun.status(), StatusCode::ACCEPTED);
        header(&begun, "location").to_owned()
    }

    /// The value of the `Range` header of an upload.
    pub(crate) async fn range_of(&self, location: &str) -> String {
        let status = self.get(location).send().await.unwrap();
        assert_eq!(status.status(), StatusCode::NO_CONTENT);
        assert_eq!(header(&status, "location"), location);
        header(&status, "range").to_owned()
    }

    /// Pushes a manifest with everything it needs under `tag`, and returns its descriptor.
    pub(crate) async fn push_manifest(&self, name: &str, tag: &str, fields: Value) -> Descriptor {
        let bytes = self.manifest(name, fields).await;
        let pushed = self.put(&format!("/v2/{name}/manifests/{tag}")).header("content-type", media_type::IMAGE_MANIFEST);
        let pushed = pushed.body(bytes.clone()).send().await.unwrap();
        assert_eq!(pushed.status(), StatusCode::CREATED);
        Descriptor::of(media_type::IMAGE_MANIFEST, &bytes)
    }

    /// An image manifest with these additional fields. Its config is pushed.
    pub(crate) async fn manifest(&self, name: &str, fields: Value) -> Vec<u8> {
        let config = self.push_blob(name, *b"{}").await;
        let mut manifest = json!({
            "schemaVersion": 2,
            "config": { "mediaType": "application/vnd.example.config", "digest": config.to_string(), "size": 2 },
            "layers": [],
        });
        manifest.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::to_vec_pretty(&manifest).unwrap()
    }

    /// A raw connection.
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

pub(crate) fn name(text: &str) -> RepositoryName {
    RepositoryName::without_host(text).unwrap()
}

pub(crate) fn sha512(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(content);
    hasher.finish()
}

/// The open files of this process below `directory`.
pub(crate) fn open_files(directory: &Path) -> Vec<PathBuf> {
    let directory = directory.canonicalize().unwrap();
    let all = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    all.filter(|path| path.starts_with(&directory)).collect()
}

/// Content without equal blocks.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    (0..len.div_ceil(8)).flat_map(|i| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes()).take(len).collect()
}

#[track_caller]
pub(crate) fn header<'a>(response: &'a Response, name: &str) -> &'a str {
    response.headers().get(name).unwrap_or_else(|| panic!("no header {name} in {response:?}")).to_str().unwrap()
}

/// Checks the status of a failure and the format of its body. Returns code and message.
pub(crate) async fn failure(response: Response, status: StatusCode) -> (String, String) {
    assert_eq!(response.status(), status);
    assert_eq!(header(&response, "content-type"), "application/json");
    let body: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
    let errors = body["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 1);
    (errors[0]["code"].as_str().unwrap().to_owned(), errors[0]["message"].as_str().unwrap().to_owned())
}

pub(crate) async fn json(response: Response) -> Value {
    assert_eq!(response.status(), StatusCode::OK);
    serde_json::from_slice(&response.bytes().await.unwrap()).unwrap()
}

/// Writes the head of a request and waits until the registry asks for the body, so that the request
/// is known to be in progress.
pub(crate) async fn begin_request(stream: &mut TcpStream, method: &str, path: &str, content_length: usize) {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {content_length}\r\nExpect: 100-continue\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let expected = b"HTTP/1.1 100 Continue\r\n\r\n";
    let mut answer = vec![0; expected.len()];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(answer, expected);
}
