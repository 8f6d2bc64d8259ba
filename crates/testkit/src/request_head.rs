//! The head of a request, for the small servers here that read HTTP by hand.

use std::collections::BTreeMap;
use std::io::BufRead;

/// A request without its body.
#[derive(Debug)]
pub(crate) struct RequestHead {
    pub(crate) method: String,
    /// The path with its query.
    pub(crate) target: String,
    /// The headers, names in lower case.
    pub(crate) headers: BTreeMap<String, String>,
}

impl RequestHead {
    /// Reads up to the empty line, or to the end.
    pub(crate) fn read(reader: &mut impl BufRead) -> std::io::Result<Self> {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split(' ').map(str::to_owned);
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                return Ok(Self { method, target, headers });
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.trim().to_ascii_lowercase(), value.trim().to_owned());
            }
        }
    }
}
