//! A TCP proxy on the loopback that breaks connections where a test wants them broken: cut now, cut
//! after a number of bytes, or held in one direction while the other flows.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;

/// Which way bytes flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// To the client.
    ToClient,
}

/// A proxy; its connections are cut when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Whether new connections are closed at once.
    refusing: bool,
    /// Counts the cuts: a connection of an earlier epoch is dead.
    epoch: u64,
    /// Counts the connections.
    accepted: u64,
    /// Connections up to this one are dark.
    dark: u64,
    connections: Vec<TcpStream>,
    ways: [Way; 2],
}

/// One direction, over all connections.
#[derive(Debug, Default)]
struct Way {
    held: bool,
    carried: u64,
    /// How much may still pass before everything is cut.
    left: Option<u64>,
    /// What happens when nothing is left: the connections go dark instead of being cut.
    darkens: bool,
}

// === impl Proxy ===

impl Proxy {
    /// A proxy to a port of the loopback.
    pub fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared = Arc::new(Shared { server, state: Mutex::default(), changed: Condvar::new() });
        let accepting = Arc::downgrade(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Some(shared) = accepting.upgrade() else { return };
                shared.accept(client);
            }
        });
        Self { port, shared }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many bytes have gone this way.
    pub fn carried(&self, direction: Direction) -> u64 {
        self.shared.state().ways[direction as usize].carried
    }

    /// Cuts all connections; new ones are let through.
    pub fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts all connections and closes new ones at once, until `allow`.
    pub fn refuse(&self) {
        self.shared.state().refusing = true;
        self.cut();
    }

    /// Lets new connections through again.
    pub fn allow(&self) {
        self.shared.state().refusing = false;
    }

    /// Holds back what goes this way, until `release` or a cut, which loses it.
    pub fn hold(&self, direction: Direction) {
        self.shared.state().ways[direction as usize].held = true;
    }

    /// Lets it go again, for connections that live and for those to come.
    pub fn release(&self, direction: Direction) {
        self.shared.state().ways[direction as usize].held = false;
        self.shared.changed.notify_all();
    }

    /// Cuts all connections, once, when this many more bytes have gone this way.
    pub fn cut_after(&self, direction: Direction, bytes: u64) {
        self.limit(direction, bytes, false);
    }

    /// From now on nothing passes on the connections there are, in neither direction, and no end
    /// hears of it, not even when the other closes. New connections are let through.
    pub fn darken(&self) {
        self.shared.darken();
    }

    /// The same, once, when this many more bytes have gone this way.
    pub fn darken_after(&self, direction: Direction, bytes: u64) {
        self.limit(direction, bytes, true);
    }

    /// Bytes pass again on dark connections, those that wait first.
    pub fn lighten(&self) {
        self.shared.state().dark = 0;
        self.shared.changed.notify_all();
    }

    fn limit(&self, direction: Direction, bytes: u64, darkens: bool) {
        let way = &mut self.shared.state().ways[direction as usize];
        (way.left, way.darkens) = (Some(bytes), darkens);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.refuse();
        // Wakes the thread that accepts; it finds the proxy gone, or lives on doing nothing until
        // the process ends.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn accept(self: Arc<Self>, client: TcpStream) {
        let mut state = self.state();
        if state.refusing {
            return;
        }
        // A server that is down: the client sees its connection closed.
        let Ok(server) = TcpStream::connect(("127.0.0.1", self.server)) else { return };
        for (from, to, direction) in
            [(&client, &server, Direction::ToServer), (&server, &client, Direction::ToClient)]
        {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let (shared, connection) = (Arc::clone(&self), (state.epoch, state.accepted + 1));
            thread::spawn(move || shared.pump(from, to, direction, connection));
        }
        state.accepted += 1;
        state.connections.extend([client, server]);
    }

    /// Carries bytes until one side closes or the connection is cut.
    fn pump(
        &self,
        mut from: TcpStream,
        mut to: TcpStream,
        direction: Direction,
        connection: (u64, u64),
    ) {
        let mut buffer = [0; 16 * 1024];
        while let Ok(length @ 1..) = from.read(&mut buffer) {
            let Some((allowed, cut)) = self.admit(length, direction, connection) else { return };
            let written = to.write_all(&buffer[..allowed]);
            if cut && self.state().ways[direction as usize].darkens {
                self.darken();
            } else if cut {
                self.cut();
            }
            if written.is_err() {
                break;
            }
        }
        let is_dark = |state: &mut State| state.dark >= connection.1 && state.epoch == connection.0;
        drop(self.changed.wait_while(self.state(), is_dark).unwrap());
        let _ = to.shutdown(Shutdown::Write);
        let _ = from.shutdown(Shutdown::Read);
    }

    /// How much of this may pass and whether that is the last; none on a connection that has been
    /// cut.
    fn admit(
        &self,
        length: usize,
        direction: Direction,
        (epoch, number): (u64, u64),
    ) -> Option<(usize, bool)> {
        let way = direction as usize;
        let held = |state: &mut State| {
            (state.ways[way].held || state.dark >= number) && state.epoch == epoch
        };
        let mut state = self.changed.wait_while(self.state(), held).unwrap();
        if state.epoch != epoch {
            return None;
        }
        let way = &mut state.ways[way];
        let allowed =
            way.left.map_or(length, |left| length.min(usize::try_from(left).unwrap_or(length)));
        way.carried += allowed as u64;
        let left = way.left.map(|left| left - allowed as u64);
        way.left = left.filter(|left| *left > 0);
        Some((allowed, left == Some(0)))
    }

    fn darken(&self) {
        let mut state = self.state();
        state.dark = state.accepted;
    }

    fn cut(&self) {
        let mut state = self.state();
        state.epoch += 1;
        for connection in state.connections.drain(..) {
            // One that is closed already stays closed.
            let _ = connection.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
    }
}
