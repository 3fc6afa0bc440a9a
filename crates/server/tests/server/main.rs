//! The server under small protocols of its own: what every view gets, whatever it serves.

mod access_log;
mod harness;
mod probes;
mod views;
