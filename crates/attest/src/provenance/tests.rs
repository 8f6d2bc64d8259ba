//! Golden predicates, and what must not be in them.

use super::*;

fn provenance() -> Provenance {
    let source = Digest::of("source");
    let run = Digest::of("run");
    let last = Digest::of("last");
    let step = |digest, op, inputs| Step { digest, op, inputs };
    Provenance {
        builder_id: "https://ci.example/job/1".to_owned(),
        builder_platform: "linux/amd64".parse().unwrap(),
        request: Request {
            frontend: "dockerfile.v0".to_owned(),
            filename: "Dockerfile".to_owned(),
            context: None,
            args: BTreeMap::from([
                ("build-arg:A".to_owned(), "canary".to_owned()),
                ("build-arg:HTTP_PROXY".to_owned(), "http://canary:canary@proxy:3128".to_owned()),
                ("label:L".to_owned(), "canary".to_owned()),
                ("target".to_owned(), "final".to_owned()),
            ]),
            secrets: vec![Secret { id: "token".to_owned(), optional: true }],
            ssh: vec![Secret { id: "default".to_owned(), optional: false }],
            locals: BTreeSet::from(["context".to_owned()]),
        },
        dependencies: vec![
            Dependency::content("pkg:docker/debian@12?platform=linux%2Famd64", &Digest::of("debian")),
            Dependency::commit(
                "https://canary@git.example/x.git",
                "0123456789012345678901234567890123456789",
            ),
        ],
        network: true,
        vcs: BTreeMap::from([("source".to_owned(), "https://u:canary@git.example/y".to_owned())]),
        reproducible: false,
        times: None,
        details: Details {
            steps: vec![
                step(source, json!({ "Op": { "source": { "identifier": "local://context" } } }), vec![]),
                step(run, json!({ "Op": { "exec": {} } }), vec![(source, 0)]),
                step(last, json!({ "Op": {} }), vec![(run, 1)]),
            ],
            sources: vec![SourceFile {
                filename: "Dockerfile".to_owned(),
                language: "Dockerfile".to_owned(),
                text: "ADD https://u:canary@h/x /\n".to_owned(),
            }],
            locations: BTreeMap::from([(run, json!({ "locations": [] }))]),
            layers: Some((run, 1, vec![Descriptor::of("layer", b"1")])),
        },
    }
}

#[test]
fn v1_min() {
    let (kind, predicate) = provenance().predicate(Mode::Min, SlsaVersion::V1);
    assert_eq!(kind, "https://slsa.dev/provenance/v1");
    insta::assert_snapshot!(serde_json::to_string_pretty(&predicate).unwrap(), @r#"
    {
      "buildDefinition": {
        "buildType": "urn:gantry:build-type:llb:v1",
        "externalParameters": {
          "configSource": {
            "path": "Dockerfile"
          },
          "request": {
            "frontend": "dockerfile.v0",
            "args": {
              "target": "final"
            },
            "locals": [
              {
                "name": "context"
              }
            ]
          }
        },
        "internalParameters": {
          "builderPlatform": "linux/amd64"
        },
        "resolvedDependencies": [
          {
            "uri": "https://xxxxx:xxxxx@git.example/x.git",
            "digest": {
              "sha1": "0123456789012345678901234567890123456789"
            }
          },
          {
            "uri": "pkg:docker/debian@12?platform=linux%2Famd64",
            "digest": {
              "sha256": "81d93757457f988523814ae0009837ae893f38d3fe123f2c37896f118b4c7804"
            }
          }
        ]
      },
      "runDetails": {
        "builder": {
          "id": "https://ci.example/job/1"
        },
        "metadata": {
          "buildkit_metadata": {
            "vcs": {
              "source": "https://xxxxx:xxxxx@git.example/y"
            }
          },
          "buildkit_completeness": {
            "request": false,
            "resolvedDependencies": false
          }
        }
      }
    }
    "#);
}

#[test]
fn v1_max() {
    let (_, predicate) = provenance().predicate(Mode::Max, SlsaVersion::V1);
    insta::assert_snapshot!(serde_json::to_string_pretty(&predicate).unwrap(), @r#"
    {
      "buildDefinition": {
        "buildType": "urn:gantry:build-type:llb:v1",
        "externalParameters": {
          "configSource": {
            "path": "Dockerfile"
          },
          "request": {
            "frontend": "dockerfile.v0",
            "args": {
              "build-arg:A": "canary",
              "build-arg:HTTP_PROXY": "http://xxxxx:xxxxx@proxy:3128",
              "label:L": "canary",
              "target": "final"
            },
            "secrets": [
              {
                "id": "token",
                "optional": true
              }
            ],
            "ssh": [
              {
                "id": "default"
              }
            ],
            "locals": [
              {
                "name": "context"
              }
            ]
          }
        },
        "internalParameters": {
          "buildConfig": {
            "llbDefinition": [
              {
                "id": "step0",
                "op": {
                  "Op": {
                    "source": {
                      "identifier": "local://context"
                    }
                  }
                }
              },
              {
                "id": "step1",
                "op": {
                  "Op": {
                    "exec": {}
                  }
                },
                "inputs": [
                  "step0:0"
                ]
              },
              {
                "id": "step2",
                "op": {
                  "Op": {}
                },
                "inputs": [
                  "step1:1"
                ]
              }
            ],
            "digestMapping": {
              "sha256:3547cb112ac4489af2310c0626cdba6f3097a2ad5a3b42ddd3b59c76c7a079a3": "step2",
              "sha256:41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d": "step0",
              "sha256:acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be": "step1"
            }
          },
          "builderPlatform": "linux/amd64"
        },
        "resolvedDependencies": [
          {
            "uri": "https://xxxxx:xxxxx@git.example/x.git",
            "digest": {
              "sha1": "0123456789012345678901234567890123456789"
            }
          },
          {
            "uri": "pkg:docker/debian@12?platform=linux%2Famd64",
            "digest": {
              "sha256": "81d93757457f988523814ae0009837ae893f38d3fe123f2c37896f118b4c7804"
            }
          }
        ]
      },
      "runDetails": {
        "builder": {
          "id": "https://ci.example/job/1"
        },
        "metadata": {
          "buildkit_metadata": {
            "vcs": {
              "source": "https://xxxxx:xxxxx@git.example/y"
            },
            "source": {
              "locations": {
                "step1": {
                  "locations": []
                }
              },
              "infos": [
                {
                  "filename": "Dockerfile",
                  "language": "Dockerfile",
                  "data": "QUREIGh0dHBzOi8veHh4eHg6eHh4eHhAaC94IC8K"
                }
              ]
            },
            "layers": {
              "step1:1": [
                [
                  {
                    "mediaType": "layer",
                    "digest": "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
                    "size": 1
                  }
                ]
              ]
            }
          },
          "buildkit_completeness": {
            "request": true,
            "resolvedDependencies": false
          }
        }
      }
    }
    "#);
}

#[test]
fn v02_max() {
    let (kind, predicate) = provenance().predicate(Mode::Max, SlsaVersion::V02);
    assert_eq!(kind, "https://slsa.dev/provenance/v0.2");
    insta::assert_snapshot!(serde_json::to_string_pretty(&predicate).unwrap(), @r#"
    {
      "builder": {
        "id": "https://ci.example/job/1"
      },
      "buildType": "urn:gantry:build-type:llb:v0.2",
      "materials": [
        {
          "uri": "https://xxxxx:xxxxx@git.example/x.git",
          "digest": {
            "sha1": "0123456789012345678901234567890123456789"
          }
        },
        {
          "uri": "pkg:docker/debian@12?platform=linux%2Famd64",
          "digest": {
            "sha256": "81d93757457f988523814ae0009837ae893f38d3fe123f2c37896f118b4c7804"
          }
        }
      ],
      "invocation": {
        "configSource": {
          "entryPoint": "Dockerfile"
        },
        "parameters": {
          "frontend": "dockerfile.v0",
          "args": {
            "build-arg:A": "canary",
            "build-arg:HTTP_PROXY": "http://xxxxx:xxxxx@proxy:3128",
            "label:L": "canary",
            "target": "final"
          },
          "secrets": [
            {
              "id": "token",
              "optional": true
            }
          ],
          "ssh": [
            {
              "id": "default"
            }
          ],
          "locals": [
            {
              "name": "context"
            }
          ]
        },
        "environment": {
          "platform": "linux/amd64"
        }
      },
      "buildConfig": {
        "llbDefinition": [
          {
            "id": "step0",
            "op": {
              "Op": {
                "source": {
                  "identifier": "local://context"
                }
              }
            }
          },
          {
            "id": "step1",
            "op": {
              "Op": {
                "exec": {}
              }
            },
            "inputs": [
              "step0:0"
            ]
          },
          {
            "id": "step2",
            "op": {
              "Op": {}
            },
            "inputs": [
              "step1:1"
            ]
          }
        ],
        "digestMapping": {
          "sha256:3547cb112ac4489af2310c0626cdba6f3097a2ad5a3b42ddd3b59c76c7a079a3": "step2",
          "sha256:41cf6794ba4200b839c53531555f0f3998df4cbb01a4d5cb0b94e3ca5e23947d": "step0",
          "sha256:acba25512100f80b56fc3ccd14c65be55d94800cda77585c5f41a887e398f9be": "step1"
        }
      },
      "metadata": {
        "completeness": {
          "parameters": true,
          "environment": true,
          "materials": false
        },
        "reproducible": false,
        "https://mobyproject.org/buildkit@v1#metadata": {
          "vcs": {
            "source": "https://xxxxx:xxxxx@git.example/y"
          },
          "source": {
            "locations": {
              "step1": {
                "locations": []
              }
            },
            "infos": [
              {
                "filename": "Dockerfile",
                "language": "Dockerfile",
                "data": "QUREIGh0dHBzOi8veHh4eHg6eHh4eHhAaC94IC8K"
              }
            ]
          },
          "layers": {
            "step1:1": [
              [
                {
                  "mediaType": "layer",
                  "digest": "sha256:6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b",
                  "size": 1
                }
              ]
            ]
          }
        }
      }
    }
    "#);
}

#[test]
fn nothing_private_is_in_min() {
    for version in [SlsaVersion::V1, SlsaVersion::V02] {
        let (_, predicate) = provenance().predicate(Mode::Min, version);
        let text = predicate.to_string();
        for private in ["canary", "build-arg", "label:", "token", "llbDefinition"] {
            assert!(!text.contains(private), "{private} in {text}");
        }
    }
}

#[test]
fn a_build_of_known_things_alone_is_hermetic() {
    let mut provenance = provenance();
    let hermetic = |provenance: &Provenance| {
        let (_, predicate) = provenance.predicate(Mode::Max, SlsaVersion::V1);
        let metadata = predicate["runDetails"]["metadata"].clone();
        (metadata["buildkit_hermetic"] == true, metadata["buildkit_completeness"].clone())
    };
    let complete =
        |request, dependencies| json!({ "request": request, "resolvedDependencies": dependencies });
    assert_eq!(hermetic(&provenance), (false, complete(true, false)));
    provenance.request.locals.clear();
    assert_eq!(hermetic(&provenance), (false, complete(true, true)));
    provenance.network = false;
    assert_eq!(hermetic(&provenance), (true, complete(true, true)));
}
