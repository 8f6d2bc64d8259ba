//! The conversation between caller and supervisor over their socket: one [`Spec`](crate::Spec) there, one
//! [`Report`] back, each a JSON text after its length. The caller's end of file means "kill it": that covers both
//! a cancelled run and a caller that died, however it died.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, Exit};

/// The longest message. A specification holds secrets of at most some hundred kilobytes each; as JSON numbers a
/// byte takes four.
const MAX_MESSAGE: u32 = 256 << 20;

/// How a run ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The process never ran.
    Failed(Error),
    /// The process ended.
    Exited(Exit),
}

/// Sends one message.
pub(crate) fn send(mut to: impl Write, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MAX_MESSAGE);
    let length = length.ok_or_else(|| io::Error::from_raw_os_error(nix::libc::EMSGSIZE))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&text)
}

/// Receives one message; fails with `UnexpectedEof` if the other side is gone.
pub(crate) fn receive<T: DeserializeOwned>(mut from: impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_MESSAGE {
        return Err(io::Error::from_raw_os_error(nix::libc::EMSGSIZE));
    }
    let mut text = vec![0; length as usize];
    from.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_wire() {
        for report in [
            Report::Exited(Exit::Code(3)),
            Report::Exited(Exit::Signal(9)),
            Report::Failed(Error::MissingCwd("/x".into())),
            Report::Failed(Error::Setup { action: "mount".into(), object: "/p".into(), errno: 22 }),
        ] {
            let mut wire = Vec::new();
            send(&mut wire, &report).unwrap();
            assert_eq!(receive::<Report>(&wire[..]).unwrap(), report);
            let cut = receive::<Report>(&wire[..wire.len() - 1]).unwrap_err();
            assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn an_absurd_length_is_not_allocated() {
        let error = receive::<Report>(&[0xff; 8][..]).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(nix::libc::EMSGSIZE));
    }
}
