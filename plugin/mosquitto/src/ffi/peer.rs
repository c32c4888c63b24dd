//! The user at the other end of a Unix socket.
//!
//! It reads no process id: across the border of two containers that is zero, a value that `rustix` cannot hold. It
//! then returns an error whose number is the user.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;

/// The id of the user whose process listens, or connected.
pub(crate) fn uid_of_peer(socket: &UnixStream) -> io::Result<u32> {
    let mut peer = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let expected = libc::socklen_t::try_from(size_of::<libc::ucred>()).map_err(io::Error::other)?;
    let mut length = expected;
    // SAFETY: the descriptor is open while `socket` is borrowed; the kernel writes at most `length` bytes to `peer`, which
    // is as long, and any bytes are a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut length,
        )
    };
    match result {
        0 if length == expected => Ok(peer.uid),
        0 => Err(io::Error::other("the system says less than a user")),
        _ => Err(io::Error::last_os_error()),
    }
}
