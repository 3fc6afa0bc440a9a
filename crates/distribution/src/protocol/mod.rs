//! The wire format of the OCI distribution specification, as pure functions that client and server
//! share: paths, queries, error bodies, ranges, pages and challenges.

pub(crate) mod challenge;
pub(crate) mod error;
pub(crate) mod header;
pub(crate) mod page;
pub(crate) mod query;
pub(crate) mod range;
pub(crate) mod route;
