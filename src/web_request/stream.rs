//! A response without an end, read chunk by chunk: the caller decides how long it waits for the next.
//!
//! It interprets no chunk, and connects once.

use std::future::Future;
use std::pin::{Pin, pin};

use http_body_util::BodyExt;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use super::{StatusCode, WebError, WebRequest, WebResponse};

/// A response that is read while it comes.
pub struct WebStream {
    body: Incoming,
    /// Carries the bytes; this stream drives it without a task.
    connection: Option<Carrying>,
}

/// Carries the bytes of a connection until its end.
type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The beginning of a response.
pub enum OpenedResponse {
    /// Its status is 200.
    Stream(WebStream),
    /// Any other, with its whole body.
    Other(WebResponse),
}

// === impl WebRequest ===

impl WebRequest<'_> {
    /// Sends it, and returns the response when its head has come. The time limit is that of the head;
    /// the size limit holds for a response that is no stream.
    pub async fn open(self) -> Result<OpenedResponse, WebError> {
        let limit = self.time_limit;
        timeout(limit, self.begin()).await.map_err(|_| WebError::Slow(limit))?
    }

    async fn begin(self) -> Result<OpenedResponse, WebError> {
        let uri = self.uri()?;
        let stream = self.connect(&uri).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = self.request(&uri)?;
        // An error of the connection is an error of the body, too.
        let mut connection: Carrying = Box::pin(async move { drop(connection.await) });
        let mut sending = pin!(sender.send_request(request));
        // A short response has come when its connection ends.
        let (answer, connection) = tokio::select! {
            answer = &mut sending => (answer, Some(connection)),
            () = &mut connection => (sending.await, None),
        };
        let (head, body) = answer?.into_parts();
        let mut stream = WebStream { body, connection };
        if head.status == StatusCode::OK {
            return Ok(OpenedResponse::Stream(stream));
        }
        let mut whole = Vec::new();
        while let Some(chunk) = stream.chunk().await? {
            if whole.len() + chunk.len() > self.max_bytes {
                break;
            }
            whole.extend_from_slice(&chunk);
        }
        let (status, headers) = (head.status, head.headers);
        Ok(OpenedResponse::Other(WebResponse { status, headers, body: whole }))
    }
}

// === impl WebStream ===

impl WebStream {
    /// The next bytes; `None`: the response has ended.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, WebError> {
        loop {
            let frame = match &mut self.connection {
                None => self.body.frame().await,
                Some(connection) => tokio::select! {
                    frame = self.body.frame() => frame,
                    () = connection => {
                        self.connection = None;
                        continue;
                    }
                },
            };
            let Some(frame) = frame else { return Ok(None) };
            if let Ok(data) = frame?.into_data() {
                return Ok(Some(data));
            }
        }
    }
}
