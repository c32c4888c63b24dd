//! Carries the writer's bytes to Postgres without Nagle's algorithm.
//!
//! The client library leaves Nagle on and offers no way to switch it off. COPY ends with a small write of its own, which
//! then waits until the server's kernel acknowledges the data before it: 40 ms for each batch over TCP, against less than
//! one without. So the library is given a Unix socket of ours, and what it says is passed on by TCP with `TCP_NODELAY`.
//! The socket is abstract (no file), takes one connection, and only from this process. TLS passes through untouched.

use std::io;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Bytes under way in each direction.
const BUFFER: usize = 64 * 1024;

/// How long the library may take to call at the socket it was given.
const CALL_PATIENCE: Duration = Duration::from_secs(10);

/// A relay at work; it ends with its connection, or when this is dropped.
#[derive(Debug)]
pub struct Relay {
    carrying: AbortOnDropHandle<()>,
}

// === impl Relay ===

impl Relay {
    /// Closes both ends at once, without a word to either.
    pub(super) fn cut(&self) -> AbortHandle {
        self.carrying.abort_handle()
    }
}

/// Connects to the Postgres that these options name by TCP, and returns the options that lead there by the relay. `None`
/// where there is nothing to relay: by Unix socket, or on a system without abstract sockets.
pub async fn open(options: &PgConnectOptions) -> io::Result<Option<(PgConnectOptions, Relay)>> {
    let (host, port) = (options.get_host(), options.get_port());
    if !cfg!(target_os = "linux") || options.get_socket().is_some() || host.starts_with('/') {
        return Ok(None);
    }
    // The library appends `/.s.PGSQL.<port>` to the directory it is given.
    let directory = format!("\0sluice-{}", uuid::Uuid::new_v4());
    let Ok(listener) = UnixListener::bind(format!("{directory}/.s.PGSQL.{port}")) else { return Ok(None) };
    let server = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    server.set_nodelay(true)?;
    #[expect(clippy::disallowed_methods, reason = "it is owned by the connection it carries, and ends with it")]
    let carrying = tokio::spawn(carry(listener, server));
    Ok(Some((options.clone().socket(directory), Relay { carrying: AbortOnDropHandle::new(carrying) })))
}

async fn carry(listener: UnixListener, mut server: TcpStream) {
    let Ok(Ok(mut client)) = timeout(CALL_PATIENCE, own_call(&listener)).await else { return };
    drop(listener);
    // However it ends, both ends see their connection closed, and the library tells what that means.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await;
}

/// The first call that comes from this very process.
async fn own_call(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (caller, _) = listener.accept().await?;
        let own = i32::try_from(std::process::id()).ok();
        if own.is_some() && caller.peer_cred()?.pid() == own {
            return Ok(caller);
        }
    }
}
