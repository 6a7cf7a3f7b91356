//! Lines of JSON with a bound on their length.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

use super::{REQUEST_BYTES_MAX, Request, Response};

/// The next line without its newline; `None` at the end. A line that is cut short by the end is dropped with it.
pub(super) async fn read(input: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(REQUEST_BYTES_MAX).map_err(io::Error::other)?;
    input.take(limit).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => Ok(Some(line)),
        _ if line.len() + 1 >= REQUEST_BYTES_MAX => Err(too_long(REQUEST_BYTES_MAX)),
        _ => Ok(None),
    }
}

pub(super) fn too_long(bytes_max: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a line of more than {bytes_max} bytes"))
}

/// What a client's line asks for, or what to answer instead.
pub fn parse(line: &[u8]) -> Result<Request, Response> {
    serde_json::from_slice(line).map_err(|error| {
        let requests = "status, watch, handover with lun and optionally to, accept-loss and resize with lun";
        Response::Error(format!("this is not a request ({error}); requests are {requests}"))
    })
}

/// `response` as a line.
pub(super) fn print(response: &Response) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(response).unwrap_or_else(|_| br#"{"ok":false,"error":"cannot be printed"}"#.to_vec());
    line.push(b'\n');
    line
}
