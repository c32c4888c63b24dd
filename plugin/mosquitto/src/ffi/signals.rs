//! The signal that ends the wait of the broker's thread, and the signals that other threads must not take.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::ffi::c_int;

use crate::request::Waker;

/// A function that makes the thread of the broker call [`on_tick`] at once: a signal ends its wait.
pub(super) fn waker_of_this_thread() -> Result<Waker, String> {
    extern "C" fn ignore(_: c_int) {}
    // SAFETY: all bytes zero is a valid `sigaction`; the handler does nothing, so it is safe in a signal.
    let installed = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = ignore as *const () as usize;
        libc::sigaction(libc::SIGURG, &raw const action, std::ptr::null_mut())
    };
    if installed != 0 {
        return Err("installing a handler of SIGURG failed".to_owned());
    }
    // SAFETY: it has no precondition.
    let thread = unsafe { libc::pthread_self() };
    Ok(Box::new(move || {
        // SAFETY: the thread of the broker lives as long as the process, and longer than the instance.
        unsafe { libc::pthread_kill(thread, libc::SIGURG) };
    }))
}

/// Blocks all signals in the calling thread: they belong to the broker.
pub(crate) fn block_signals() {
    // SAFETY: `sigfillset` initializes the set before it is read.
    unsafe {
        let mut all: libc::sigset_t = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const all, std::ptr::null_mut());
    }
}
