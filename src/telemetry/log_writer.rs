//! Writes log lines to standard error on a thread of its own, so that a slow reader does not block
//! the caller.
//!
//! Lines keep their order. A line that cannot be written, because the reader stalls, the disk is
//! full or the terminal is closed, is lost and counted. It does not decide what a line says.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Capacity of the queue, in bytes.
const QUEUE_BYTES: usize = 1024 * 1024;

/// Longest wait of one line for room. After it, lines are dropped at once until the reader takes
/// one.
const PATIENCE: Duration = Duration::from_millis(200);

/// Pause before a retry on a non-blocking descriptor that is full.
const RETRY_PAUSE: Duration = Duration::from_millis(5);

/// Number of lost lines of this process.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Queues log lines. Clones share one queue.
#[derive(Clone, Debug)]
pub struct LogWriter(Arc<SharedWriter>);

#[derive(Debug, Default)]
struct SharedWriter {
    queue: Mutex<LineQueue>,
    /// Notified when a line is queued.
    filled: Condvar,
    /// Notified when a line is dequeued or written.
    drained: Condvar,
}

#[derive(Debug, Default)]
struct LineQueue {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    is_writing: bool,
    /// Whether a line waited for room and found none since the last one was written.
    is_stalled: bool,
}

/// Returns the number of lost lines of this process.
pub fn lost() -> u64 {
    LOST.load(Ordering::Relaxed)
}

// === impl LogWriter ===

impl LogWriter {
    /// Writes to standard error.
    pub fn to_stderr() -> io::Result<Self> {
        // A separate descriptor: the lock of the standard one would be held while its reader
        // stalls.
        Self::to(File::from(io::stderr().as_fd().try_clone_to_owned()?))
    }

    fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let shared = Arc::new(SharedWriter::default());
        let background = Arc::clone(&shared);
        thread::Builder::new().name("log".to_owned()).spawn(move || background.write_lines(out))?;
        Ok(Self(shared))
    }

    /// Queues one line; waits at most `PATIENCE` for room.
    pub fn enqueue(&self, line: &[u8]) {
        let has_room =
            |queue: &LineQueue| queue.lines.is_empty() || queue.bytes + line.len() <= QUEUE_BYTES;
        let mut queue = self.0.lock();
        if !has_room(&queue) && !queue.is_stalled {
            let waited =
                self.0.drained.wait_timeout_while(queue, PATIENCE, |queue| !has_room(queue));
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.is_stalled = !has_room(&queue);
        }
        if !has_room(&queue) {
            LOST.fetch_add(1, Ordering::Relaxed);
            return;
        }
        queue.bytes += line.len();
        queue.lines.push_back(line.to_vec());
        drop(queue);
        self.0.filled.notify_one();
    }

    /// Waits at most `patience` until all lines are written; the remaining ones count as lost.
    pub fn flush(&self, patience: Duration) {
        let end = Instant::now() + patience;
        let mut queue = self.0.lock();
        while queue.is_writing || !queue.lines.is_empty() {
            let Some(left) =
                end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
            else {
                return;
            };
            queue =
                self.0.drained.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Treats each call as one line.
impl Write for LogWriter {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.enqueue(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl SharedWriter ===

impl SharedWriter {
    /// Writes queued lines until the process ends.
    fn write_lines(&self, mut out: impl Write) {
        loop {
            let waited = self.filled.wait_while(self.lock(), |queue| queue.lines.is_empty());
            let mut queue = waited.unwrap_or_else(PoisonError::into_inner);
            let Some(line) = queue.lines.pop_front() else { continue };
            queue.bytes -= line.len();
            queue.is_writing = true;
            drop(queue);
            self.drained.notify_all();
            if write_whole(&mut out, &line).is_err() {
                LOST.fetch_add(1, Ordering::Relaxed);
            }
            let mut queue = self.lock();
            queue.is_writing = false;
            queue.is_stalled = false;
            drop(queue);
            self.drained.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, LineQueue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all of `rest`. Another process may have made standard error non-blocking, so a full
/// descriptor is retried.
fn write_whole(out: &mut impl Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY_PAUSE),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    const DEADLINE: Duration = Duration::from_mins(1);

    /// Takes a line when the test receives it.
    struct Reader(SyncSender<Vec<u8>>);

    impl Write for Reader {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.send(line.to_vec()).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (LogWriter, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (LogWriter::to(Reader(sender)).unwrap(), receiver)
    }

    #[test]
    fn lines_are_complete_and_in_order_and_a_slow_reader_loses_none() {
        let (writer, reader) = pipe();
        let reading = thread::spawn(move || reader.iter().take(5_000).collect::<Vec<_>>());
        let line = |number: usize| format!("{number:0500}\n").into_bytes();
        for number in 0..5_000 {
            writer.enqueue(&line(number));
        }
        writer.flush(DEADLINE);
        assert!(reading.join().unwrap().into_iter().eq((0..5_000).map(line)));
    }

    #[test]
    fn a_reader_that_stalls_or_goes_costs_lines_and_never_time() {
        let (writer, reader) = pipe();
        let (before, begun) = (lost(), Instant::now());
        let line = vec![b'x'; QUEUE_BYTES / 8];
        for _ in 0..100 {
            writer.enqueue(&line);
        }
        assert!(
            begun.elapsed() < PATIENCE * 20,
            "one line waits, the others do not: {:?}",
            begun.elapsed()
        );
        assert!(lost() - before >= 100 - 10, "{}", lost() - before);
        writer.flush(Duration::from_millis(10));
        // Once it reads again, lines pass again; once it is gone, they are lost.
        assert_eq!(reader.recv_timeout(DEADLINE).unwrap().len(), line.len());
        let before = lost();
        drop(reader);
        writer.flush(DEADLINE);
        writer.enqueue(b"nobody reads this\n");
        writer.flush(DEADLINE);
        assert!(lost() > before);
    }
}
