//! An HTTP server over a store of artifacts, independent of the protocol.
//!
//! A [`View`] is a protocol. It looks at the whole head of a request, decides whether the request
//! is its own, and answers it from the store, with errors in its own format. This crate contains
//! what all protocols need: connections and their limits, streaming bodies, handling of panics,
//! graceful shutdown, probes for load balancers, an access log, and access control.
//!
//! A view has no direct access to the store. [`Repositories`] asks [`Access`] and then gives it a
//! repository as a [`Permitted`], which has only the methods of the permitted action.
//!
//! ```no_run
//! # async fn serve(store: modelpack_store::Store, view: impl modelpack_server::View) -> modelpack_transfer::Result<()> {
//! use modelpack_server::{Server, ServerOptions};
//!
//! let server = Server::bind(store, "127.0.0.1:5000".parse().unwrap(), ServerOptions::default()).await?;
//! server.with_view(view).run(std::future::pending()).await
//! # }
//! ```

mod access;
mod access_log;
mod clients;
mod connection;
mod connections;
mod limits;
mod permitted;
mod probe;
mod repositories;
mod request_body;
mod response;
mod server;
mod service;
mod view;

pub use access::{Access, Action, Denied, Everybody, Identity};
pub use access_log::AccessLog;
pub use permitted::{Delete, Leasable, Permission, Permitted, Pull, Push};
pub use repositories::Repositories;
pub use request_body::RequestBody;
pub use response::{Answer, Response, ResponseBody};
pub use server::{Server, ServerOptions};
pub use view::{Head, Request, View};
