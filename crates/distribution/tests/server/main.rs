//! The registry over a real loopback connection: what the conformance suite of the specification does not ask.

mod blobs;
mod harness;
mod lifecycle;
mod listings;
mod manifests;
mod uploads;
