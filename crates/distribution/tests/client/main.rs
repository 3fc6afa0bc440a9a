//! The client against servers on the loopback: one that misbehaves as each test wants, and our own registry.

mod auth;
mod download;
mod errors;
mod listing;
mod manifest;
mod mirrors;
mod ours;
mod resume;
mod server;
mod tls;
mod upload;
