//! Models as read-only directories.
//!
//! A model that is [mounted](Mounts::mount) can be used at once: its files have their names, sizes and modes, which the manifest says. Their
//! bytes are fetched when somebody reads them, and all others meanwhile, in the order in which engines load them. Each byte is verified
//! before it is kept. What is complete is read from the node's cache, without this process where the kernel can do that.

mod archives;
mod blobs;
mod buffers;
mod device;
mod error;
mod filesystem;
mod mounts;
mod order;
mod patience;
mod table;
mod tree;

pub use error::{Error, ReadError, Result};
pub use mounts::{Model, Mounted, Mounts, MountsOptions};
pub use table::{MountedModel, Unmount, mounted_models, unmount};
