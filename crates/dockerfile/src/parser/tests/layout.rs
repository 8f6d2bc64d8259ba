//! How whole files fall into instructions, flags and arguments: `layouts.txt`, block by block.
//!
//! The facts are those of BuildKit's parser, one block for each of its test files; names and texts are our own. A block is
//! a name, a Dockerfile, and the expected layout: a line of JSON per instruction, with flags as a list of their own.

use serde_json::{Value, json};

use super::*;

fn layout(node: &Node, escape: char) -> Value {
    let keyword = node.keyword.to_lowercase();
    let mut parts = vec![json!(keyword)];
    if !node.flags.is_empty() {
        parts.push(json!(node.flags));
    }
    let text = match &node.arguments {
        Arguments::Json(list) => {
            parts.extend(list.iter().map(|item| json!(item)));
            return Value::Array(parts);
        }
        Arguments::Text(text) => text.as_str(),
    };
    let words = |words: Vec<String>| words.into_iter().map(Value::from).collect::<Vec<_>>();
    match keyword.as_str() {
        _ if text.is_empty() => {}
        "from" | "expose" | "copy" | "add" | "volume" => parts.extend(words(blank_separated(text))),
        "arg" => parts.extend(words(quoted_words(text, escape))),
        "env" | "label" => {
            let (pairs, old_form) = key_values(text, &keyword, escape).unwrap();
            for KeyValue { key, value } in pairs {
                parts.extend([json!(key), json!(if old_form { "" } else { "=" }), json!(value)]);
            }
        }
        "healthcheck" => {
            let (kind, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
            parts.push(json!(kind));
            match json_list(rest.trim_start()).unwrap() {
                Some(list) => parts.extend(words(list)),
                None if rest.is_empty() => {}
                None => parts.push(json!(rest.trim_start())),
            }
        }
        "onbuild" => parts.push(layout(&Node::read(text, escape).unwrap(), escape)),
        _ => parts.push(json!(text)),
    }
    Value::Array(parts)
}

fn layouts(text: &str) -> Vec<Value> {
    let file = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    file.nodes.iter().map(|node| layout(node, file.escape)).collect()
}

#[test]
fn whole_files() {
    let blocks: Vec<&str> = include_str!("layouts.txt").split("\n=== ").skip(1).collect();
    for block in &blocks {
        let (name, rest) = block.split_once('\n').unwrap();
        let (text, expected) = rest.split_once("\n---\n").unwrap();
        let expected: Vec<Value> =
            expected.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        // What cannot be seen in a file, or must not be there, stands for itself.
        let text = text.replace("<tab>", "\t").replace("<blank>", " ").replace("<cr>", "\r");
        assert_eq!(layouts(text.trim_end_matches("<end>")), expected, "{name}");
    }
    assert_eq!(blocks.len(), 33, "one for each file");
}

#[test]
fn files_that_are_none() {
    for text in ["", "# just\n# comments\n\n"] {
        assert!(parse(text).is_err(), "{text:?}");
    }
    assert!(parse("FROM a\nCMD [\"b\", [\"c\"]]").is_err());
    // A name without a value is found when the instruction is read.
    assert!(key_values("NAME", "ENV", '\\').is_err());
}

#[test]
fn lines_of_a_file() {
    let text = "\n# a\n\n\nFROM base\n\n# b\n\n\n\nRUN one \\\n  two\n\n\n# c\n\nENV A=1 \\\n# d\n  B=2 \\\n\n  C=3\n\n";
    let lines: Vec<Lines> = parse(text).unwrap().nodes.into_iter().map(|node| node.lines).collect();
    assert_eq!(lines, [5..=5, 11..=12, 17..=21]);
}
