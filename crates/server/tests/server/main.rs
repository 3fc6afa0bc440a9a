//! Tests of the server with small protocols: the behaviour that every view gets.

mod access_log;
mod harness;
mod probes;
mod views;
