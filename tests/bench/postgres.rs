//! The least of Postgres' protocol: simple queries and COPY, on a blocking Unix socket and without
//! Sluice's own code.

use std::io::{self, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// One connection to the bench's own server, whose door only its owner can reach: no password.
pub struct Connection {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
}

impl Connection {
    pub fn open(socket: &Path, port: u16) -> io::Result<Self> {
        let mut writer = UnixStream::connect(socket.join(format!(".s.PGSQL.{port}")))?;
        let names = b"user\0postgres\0database\0sluice\0\0";
        writer.write_all(&(u32::try_from(names.len()).unwrap() + 8).to_be_bytes())?;
        writer.write_all(&196_608_u32.to_be_bytes())?;
        writer.write_all(names)?;
        let mut connection =
            Self { reader: BufReader::with_capacity(64 * 1024, writer.try_clone()?), writer };
        connection.answers()?;
        Ok(connection)
    }

    /// Runs a statement; its rows as text, NULL as nothing.
    pub fn query(&mut self, sql: &str) -> io::Result<Vec<Vec<String>>> {
        self.send(b'Q', &[sql.as_bytes(), b"\0"])?;
        self.answers()
    }

    /// The one value of a statement.
    pub fn value(&mut self, sql: &str) -> io::Result<String> {
        let rows = self.query(sql)?;
        Ok(rows.into_iter().flatten().next().unwrap_or_default())
    }

    /// Runs `COPY .. FROM STDIN` with this data, which commits it.
    pub fn copy(&mut self, sql: &str, data: &[u8]) -> io::Result<()> {
        self.send(b'Q', &[sql.as_bytes(), b"\0"])?;
        self.send(b'd', &[data])?;
        self.send(b'c', &[])?;
        self.answers().map(drop)
    }

    fn send(&mut self, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let mut message = Vec::with_capacity(length + 5);
        message.push(kind);
        message.extend(u32::try_from(length + 4).unwrap().to_be_bytes());
        message.extend(parts.concat());
        self.writer.write_all(&message)
    }

    /// Reads until the server is ready for more.
    fn answers(&mut self) -> io::Result<Vec<Vec<String>>> {
        let (mut rows, mut error) = (Vec::new(), None);
        loop {
            let mut head = [0; 5];
            self.reader.read_exact(&mut head)?;
            let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let mut body = vec![0; length - 4];
            self.reader.read_exact(&mut body)?;
            match head[0] {
                b'D' => rows.push(row(&body)),
                b'E' => error = Some(String::from_utf8_lossy(&body).replace('\0', " ")),
                b'Z' => return error.map_or(Ok(rows), |error| Err(io::Error::other(error))),
                _ => {}
            }
        }
    }
}

fn row(body: &[u8]) -> Vec<String> {
    let fields = u16::from_be_bytes([body[0], body[1]]);
    let mut rest = &body[2..];
    let mut row = Vec::new();
    for _ in 0..fields {
        let length = i32::from_be_bytes([rest[0], rest[1], rest[2], rest[3]]);
        let length = usize::try_from(length).unwrap_or(0);
        row.push(String::from_utf8_lossy(&rest[4..4 + length]).into_owned());
        rest = &rest[4 + length..];
    }
    row
}
