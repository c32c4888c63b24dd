//! Relays the writer's bytes to Postgres without Nagle's algorithm.
//!
//! sqlx leaves Nagle on and has no option to switch it off. COPY ends with a small write of its
//! own, which waits until the server's kernel acknowledges the data before it: 40 ms for each batch
//! over TCP, against less than 1 ms without. So sqlx connects to a Unix socket of this process, and
//! the relay forwards by TCP with `TCP_NODELAY`. The socket is abstract (no file) and accepts one
//! connection, only from this process. It never reads TLS records.

use std::io;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// Size of the buffer in each direction.
const BUFFER: usize = 64 * 1024;

/// How long sqlx may take to connect to the relay's socket.
const ACCEPT_PATIENCE: Duration = Duration::from_secs(10);

/// A running relay; it ends with its connection, or when this is dropped.
#[derive(Debug)]
pub struct Relay {
    task: AbortOnDropHandle<()>,
}

// === impl Relay ===

impl Relay {
    /// Returns the handle that closes both ends at once, without a protocol farewell.
    pub(super) fn abort_handle(&self) -> AbortHandle {
        self.task.abort_handle()
    }
}

/// Connects to the server of `options` by TCP, and returns options that lead through the relay.
/// `None` means no relay is needed (Unix socket) or possible (no abstract sockets).
pub async fn open(options: &PgConnectOptions) -> io::Result<Option<(PgConnectOptions, Relay)>> {
    let (host, port) = (options.get_host(), options.get_port());
    if !cfg!(target_os = "linux") || options.get_socket().is_some() || host.starts_with('/') {
        return Ok(None);
    }
    // sqlx appends `/.s.PGSQL.<port>` to the directory it is given.
    let directory = format!("\0sluice-{}", uuid::Uuid::new_v4());
    let Ok(listener) = UnixListener::bind(format!("{directory}/.s.PGSQL.{port}")) else {
        return Ok(None);
    };
    let server = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    server.set_nodelay(true)?;
    #[expect(
        clippy::disallowed_methods,
        reason = "it is owned by the connection it carries, and ends with it"
    )]
    let task = tokio::spawn(carry(listener, server));
    Ok(Some((options.clone().socket(directory), Relay { task: AbortOnDropHandle::new(task) })))
}

async fn carry(listener: UnixListener, mut server: TcpStream) {
    let Ok(Ok(mut client)) = timeout(ACCEPT_PATIENCE, accept_own_process(&listener)).await else {
        return;
    };
    drop(listener);
    // Both ends then see a closed connection; sqlx reports the error.
    let _ = copy_bidirectional_with_sizes(&mut client, &mut server, BUFFER, BUFFER).await;
}

/// Accepts the first connection from this process.
async fn accept_own_process(listener: &UnixListener) -> io::Result<UnixStream> {
    loop {
        let (caller, _) = listener.accept().await?;
        let own = i32::try_from(std::process::id()).ok();
        if own.is_some() && caller.peer_cred()?.pid() == own {
            return Ok(caller);
        }
    }
}
