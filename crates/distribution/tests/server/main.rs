//! The registry over a real loopback connection: what the conformance suite of the specification does not ask.

mod access;
mod blobs;
mod harness;
mod lifecycle;
mod limits;
mod listings;
mod manifests;
mod uploads;
mod views;
