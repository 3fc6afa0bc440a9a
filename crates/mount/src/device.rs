//! Connecting a directory to this process: by the system call as root, and by `fusermount3` otherwise.
//!
//! `fuser` can do that too, but when a session has ended it unmounts whatever is at the directory by then.

use crate::table::SUBTYPE;
use rustix::{
    fs::{Mode, OFlags, open, stat},
    io::{FdFlags, fcntl_setfd},
    mount::{MountFlags, mount},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    process::{getegid, geteuid},
};
use std::{
    ffi::CString,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Command, Stdio},
};

const DEVICE: &str = "/dev/fuse";

/// Mounts a file system that this process will serve over the returned descriptor. `source` is what the table of mounts shows.
pub(crate) fn connect(directory: &Path, source: &str) -> io::Result<OwnedFd> {
    if geteuid().is_root() { by_system_call(directory, source) } else { by_helper(directory, source) }
}

/// A pod reads it as any user, so all are allowed in.
fn by_system_call(directory: &Path, source: &str) -> io::Result<OwnedFd> {
    let device = open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| io::Error::new(io::Error::from(error).kind(), format!("{DEVICE} cannot be opened: {error}")))?;
    let mode = stat(directory)?.st_mode & 0o170_000;
    let (user, group) = (geteuid().as_raw(), getegid().as_raw());
    let fd = device.as_raw_fd();
    let data = format!("fd={fd},rootmode={mode:o},user_id={user},group_id={group},default_permissions,allow_other");
    let flags = MountFlags::RDONLY | MountFlags::NODEV | MountFlags::NOSUID | MountFlags::NOATIME;
    mount(source, directory, format!("fuse.{SUBTYPE}"), flags, CString::new(data)?.as_c_str())?;
    Ok(device)
}

fn by_helper(directory: &Path, source: &str) -> io::Result<OwnedFd> {
    // A comma would begin another option.
    let options = format!("ro,nodev,nosuid,noatime,default_permissions,subtype={SUBTYPE},fsname={}", source.replace([',', '\\'], "_"));
    let (ours, its) = UnixStream::pair()?;
    fcntl_setfd(&its, FdFlags::empty())?;
    let mut command = Command::new("fusermount3");
    command.arg("-o").arg(options).arg("--").arg(directory).env("_FUSE_COMMFD", its.as_raw_fd().to_string());
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        io::Error::new(error.kind(), format!("without root privileges, `fusermount3` is needed, and cannot be run: {error}"))
    })?;
    drop(its);
    if !output.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    received_descriptor(&ours)
}

fn received_descriptor(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or_else(|| io::Error::other("`fusermount3` has sent no descriptor"))
}
