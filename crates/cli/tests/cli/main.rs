//! The real binary, as a user runs it, against real files and the registry that it serves itself. One module a topic.

mod attach;
mod bad_input;
mod demo;
mod determinism;
mod diff;
mod filter;
mod foreign;
mod full_disk;
mod harness;
mod init;
mod inspect;
mod interrupt;
mod kitfile;
mod layers;
mod lint;
mod login;
mod metadata;
mod modctl;
mod modelkit;
mod network;
mod output;
mod round_trip;
mod select;
mod snapshots;
mod store;
