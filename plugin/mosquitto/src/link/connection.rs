//! One connection to the daemon: bytes in, bytes out, and whether it still lives.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sluice_shared::frames::codec::{self, FrameBuffer};
use sluice_shared::frames::from_daemon::FromDaemon;
use sluice_shared::frames::from_plugin::{FromPlugin, PluginHello};
use sluice_shared::frames::{PROTOCOL, STATS_SECONDS};

use super::received::{self, Received, Transfer};
use crate::ffi::peer::uid_of_peer;
use crate::shared::Shared;

/// The most bytes that wait to be written: a daemon that does not read them is gone.
const OUTPUT_MAX_BYTES: usize = 16 * 1024 * 1024;

/// A daemon that sends nothing for so long, not even a ping, is hung: the connection is made again.
const SILENCE_MAX: Duration = Duration::from_secs(10);

const READ_BYTES: usize = 16 * 1024;

/// The most bytes read in one turn, so that expiries and questions are not delayed by a long snapshot.
const READ_TURN_BYTES: usize = 1024 * 1024;

/// One connection.
pub struct Connection {
    socket: UnixStream,
    input: FrameBuffer,
    output: Vec<u8>,
    written: usize,
    transfer: Transfer,
    heard_at: Instant,
    stats_at: Instant,
    is_greeted: bool,
}

impl Connection {
    /// Connects, checks who listens, and sends the first frame.
    pub fn open(shared: &Shared) -> Result<Self, String> {
        let socket =
            UnixStream::connect(&shared.options.socket).map_err(|error| error.to_string())?;
        check_peer(&socket)?;
        socket.set_nonblocking(true).map_err(|error| error.to_string())?;
        let now = Instant::now();
        let mut connection = Self {
            socket,
            input: FrameBuffer::default(),
            output: Vec::new(),
            written: 0,
            transfer: Transfer::default(),
            heard_at: now,
            stats_at: now,
            is_greeted: false,
        };
        connection.send(&FromPlugin::Hello(PluginHello {
            protocol: PROTOCOL,
            build: env!("CARGO_PKG_VERSION").to_owned(),
            broker: if shared.is_2_1 { "2.1" } else { "2.0" }.to_owned(),
            profile: shared.options.profile.clone(),
            boot: format!("{:016x}", shared.boot.0),
            ticks: shared.ticks.load(Ordering::Relaxed) > 0,
            delayed: shared.is_2_1,
            stamps: shared.options.stamps,
            warnings: shared.options.warnings(),
        }))?;
        let state = shared.state();
        let open = state.sessions.iter().filter(|(_, session)| !session.is_offline);
        let opened: Vec<FromPlugin> =
            open.map(|(_, session)| FromPlugin::Opened(session.opened())).collect();
        drop(state);
        for frame in &opened {
            connection.send(frame)?;
        }
        Ok(connection)
    }

    /// The socket, to wait for.
    pub const fn socket(&self) -> &UnixStream {
        &self.socket
    }

    /// Whether bytes wait to be written.
    pub const fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Reads and writes what there is. Returns whether the daemon has greeted.
    pub fn exchange(&mut self, shared: &Shared) -> Result<bool, String> {
        self.receive(shared)?;
        self.queue(shared)?;
        self.flush()?;
        if self.heard_at.elapsed() > SILENCE_MAX {
            return Err("the daemon is silent".to_owned());
        }
        Ok(self.is_greeted)
    }

    fn receive(&mut self, shared: &Shared) -> Result<(), String> {
        let mut bytes = [0; READ_BYTES];
        let mut total = 0;
        while total < READ_TURN_BYTES {
            let count = match self.socket.read(&mut bytes) {
                Ok(0) => return Err("the daemon closed it".to_owned()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error.to_string()),
            };
            total += count;
            self.heard_at = Instant::now();
            self.input.push(&bytes[..count]);
            self.apply_frames(shared)?;
        }
        Ok(())
    }

    fn apply_frames(&mut self, shared: &Shared) -> Result<(), String> {
        while let Some(frame) =
            self.input.take::<FromDaemon>().map_err(|error| error.to_string())?
        {
            if !self.is_greeted && !matches!(frame, FromDaemon::Hello(_)) {
                return Err("the first frame of the daemon is not its hello".to_owned());
            }
            match received::apply(shared, &mut self.transfer, frame)? {
                Received::Greeted => self.is_greeted = true,
                Received::Done => {}
                Received::Answer(frame) => self.send(&frame)?,
            }
        }
        if self.is_greeted {
            shared.state().heard_at = Some(self.heard_at);
        }
        Ok(())
    }

    /// Takes the waiting frames of the state.
    fn queue(&mut self, shared: &Shared) -> Result<(), String> {
        if !self.is_greeted {
            return Ok(());
        }
        let mut state = shared.state();
        let mut frames: Vec<FromPlugin> = state.frames.drain(..).collect();
        if self.stats_at.elapsed() >= Duration::from_secs(STATS_SECONDS) {
            self.stats_at = Instant::now();
            frames.push(FromPlugin::Stats(Box::new(state.stats_now())));
        }
        drop(state);
        frames.iter().try_for_each(|frame| self.send(frame))
    }

    fn send(&mut self, frame: &FromPlugin) -> Result<(), String> {
        let bytes = codec::encode(frame).map_err(|error| error.to_string())?;
        if self.output.len() - self.written + bytes.len() > OUTPUT_MAX_BYTES {
            return Err("the daemon does not read".to_owned());
        }
        self.output.extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), String> {
        while self.has_output() {
            match self.socket.write(&self.output[self.written..]) {
                Ok(0) => return Err("the daemon closed it".to_owned()),
                Ok(count) => self.written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        // The bytes may contain passwords.
        zeroize::Zeroize::zeroize(&mut self.output);
        self.written = 0;
        Ok(())
    }
}

/// The registry must come from the daemon: its socket belongs to root, or to the user that owns the
/// directory of the socket.
fn check_peer(socket: &UnixStream) -> Result<(), String> {
    let uid = uid_of_peer(socket).map_err(|error| error.to_string())?;
    let address = socket.peer_addr().map_err(|error| error.to_string())?;
    let directory = address.as_pathname().and_then(std::path::Path::parent);
    let owner = directory.and_then(|directory| std::fs::metadata(directory).ok());
    let owner = owner.map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata));
    if uid == 0 || owner == Some(uid) || uid == rustix::process::geteuid().as_raw() {
        Ok(())
    } else {
        Err(format!("the listener runs as uid {uid}, which does not own the socket's directory"))
    }
}
