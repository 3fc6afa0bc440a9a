//! The registry over a real loopback connection: behaviour that the conformance suite of the
//! specification does not test.

mod access;
mod blobs;
mod downloads;
mod harness;
mod lifecycle;
mod limits;
mod listings;
mod manifests;
mod restart;
mod uploads;
mod views;
