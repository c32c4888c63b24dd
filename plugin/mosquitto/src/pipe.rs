//! Wakes the thread of the link, which waits for a socket.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Wakes the thread of the link.
pub struct Wake(UnixStream);

/// Where the thread of the link is woken.
pub struct Woken(UnixStream);

/// Connected ends to wake the thread of the link by.
pub fn pair() -> io::Result<(Wake, Woken)> {
    let (wake, woken) = UnixStream::pair()?;
    wake.set_nonblocking(true)?;
    woken.set_nonblocking(true)?;
    Ok((Wake(wake), Woken(woken)))
}

impl Wake {
    /// Wakes the thread. A full pipe wakes it, too.
    pub fn wake(&self) {
        let _ = (&self.0).write(&[0]);
    }
}

impl Woken {
    /// Takes all signals so far.
    pub fn drain(&self) {
        let mut bytes = [0; 64];
        while (&self.0).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }
}

impl AsFd for Woken {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
