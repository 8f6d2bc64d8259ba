//! What a build did, read from `--progress rawjson`: the form in which BuildKit tells it, and scripts read it.

use std::collections::BTreeMap;

use serde_json::Value;

/// How the steps of a build ended. Names are without their `[stage n/m]`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Vertexes {
    /// Steps that ran, in the order of their ends.
    pub(crate) executed: Vec<String>,
    /// Steps that were found done.
    pub(crate) cached: Vec<String>,
    /// What was built, if all ended well.
    pub(crate) built: Option<String>,
}

impl Vertexes {
    /// Reads the lines of progress; other lines, like those of an error, are not part of it.
    pub(crate) fn read(stderr: &str) -> Self {
        let mut read = Self::default();
        let mut ended = BTreeMap::new();
        for line in stderr.lines().filter(|line| line.starts_with('{')) {
            let object: Value = serde_json::from_str(line).expect("every line of progress is JSON");
            if let Some(digest) = object["gantry.built"].as_str() {
                read.built = Some(digest.to_owned());
            }
            for vertex in object["vertexes"].as_array().into_iter().flatten() {
                read.vertex(vertex, &mut ended);
            }
        }
        read
    }

    fn vertex(&mut self, vertex: &Value, ended: &mut BTreeMap<String, ()>) {
        let text = |key: &str| vertex[key].as_str().map(str::to_owned);
        let name = text("name").expect("a vertex has a name");
        // Work of gantry's own is no step of the user's.
        let is_step = !["[internal]", "[output]", "[publish]"].iter().any(|own| name.starts_with(own));
        if !is_step || text("completed").is_none() || text("error").is_some() {
            return;
        }
        let digest = text("digest").expect("a vertex has a digest");
        assert!(ended.insert(digest, ()).is_none(), "`{name}` ended twice");
        let name = name.split_once("] ").map_or(name.as_str(), |(_, name)| name).to_owned();
        match vertex["cached"] == true {
            true => self.cached.push(name),
            false => self.executed.push(name),
        }
    }

    /// The names of the steps that ran, in alphabetical order.
    pub(crate) fn executed_sorted(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.executed.iter().map(String::as_str).collect();
        names.sort_unstable();
        names
    }
}
