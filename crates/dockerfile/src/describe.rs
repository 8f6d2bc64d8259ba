//! The question which questions about a Dockerfile there are (`--call=subrequests.describe`).
//!
//! The answer is that of BuildKit's front end, which names neither the checks nor the graph: tools look here for the
//! other requests, and at the version of the front end for those two.

use serde_json::{Value, json};

/// The version of all requests.
const VERSION: &str = "1.0.0";

/// A request that a front end answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Its name, as `--call` takes it.
    pub name: &'static str,
    /// What it answers.
    pub description: &'static str,
    /// The options that it heeds, with what each is; none if it says nothing about options.
    options: Option<&'static [(&'static str, &'static str)]>,
}

/// The requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Requests {
    /// In the order in which they are listed.
    pub list: [Request; 3],
}

/// Lists the requests.
pub fn describe() -> Requests {
    Requests {
        list: [
            Request {
                name: "outline",
                description: "List all parameters current build target supports",
                options: Some(&[("target", "Target build stage")]),
            },
            Request {
                name: "targets",
                description: "List all targets current build supports",
                options: Some(&[]),
            },
            Request {
                name: "subrequests.describe",
                description: "List available subrequest types",
                options: None,
            },
        ],
    }
}

impl Request {
    /// Its version.
    pub fn version(&self) -> &'static str {
        VERSION
    }
}

impl Requests {
    /// The result in the form of BuildKit's `frontend.subrequests.describe` request.
    pub fn to_json(&self) -> Value {
        let named = |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
        let request = |request: &Request| {
            json!({
                "name": format!("frontend.{}", request.name),
                "version": VERSION,
                "type": "rpc",
                "description": request.description,
                "opts": request.options.map(|options| options.iter().map(named).collect::<Vec<_>>()),
                "inputs": null,
                "metadata": [named(&("result.json", "")), named(&("result.txt", ""))],
                "refs": null,
            })
        };
        self.list.iter().map(request).collect()
    }
}
