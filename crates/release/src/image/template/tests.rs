//! What templates make of an index.

use serde_json::{Value, json};

use super::{parse, run};

fn value() -> Value {
    json!({
        "Name": "r/a:1",
        "Manifest": {
            "mediaType": "m", "digest": "sha256:1", "size": 7,
            "manifests": [
                { "digest": "d1", "platform": { "os": "linux", "architecture": "amd64" } },
                { "digest": "d2", "platform": { "os": "linux", "architecture": "arm", "variant": "v7", "os.version": "9" },
                  "annotations": { "a.b": "<c>" } },
            ],
        },
        "Image": { "linux/arm/v7": { "created_by": "x", "config": { "Env": ["A=1", "B=2"] } } },
    })
}

fn text(template: &str) -> String {
    match parse(template).and_then(|nodes| run(&nodes, &value())) {
        Ok(text) => text,
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_people_write() {
    for (template, expected) in [
        ("plain", "plain"),
        ("{{.Name}}", "r/a:1"),
        ("{{ .Manifest.Digest }} {{.Manifest.digest}} {{.Manifest.Size}}", "sha256:1 sha256:1 7"),
        (
            "{{range .Manifest.Manifests}}{{.Digest}} {{.Platform.OS}}/{{.Platform.Architecture}}{{with .Platform.Variant}}/{{.}}{{end}}\n{{end}}",
            "d1 linux/amd64\nd2 linux/arm/v7\n",
        ),
        ("{{range $i, $m := .Manifest.Manifests}}{{$i}}{{$m.Platform.OSVersion}};{{end}}", "0;19;"),
        (
            "{{range .Manifest.Manifests}}{{if eq .Platform.Architecture \"arm\"}}{{println .Digest}}{{end}}{{end}}",
            "d2\n",
        ),
        ("{{json (index .Image \"linux/arm/v7\").Config.Env}}", "[\n  \"A=1\",\n  \"B=2\"\n]"),
        ("{{json (index .Manifest.Manifests 1).Annotations}}", "{\n  \"a.b\": \"\\u003cc\\u003e\"\n}"),
        ("{{index .Image \"linux/none\" | json}}", "null"),
        ("{{(index .Image \"linux/arm/v7\").Config.Env}} {{len .Image}}", "[A=1 B=2] 1"),
        ("{{index (index .Image \"linux/arm/v7\").Config.Env 1}}", "B=2"),
        ("{{range $k, $v := .Image}}{{$k}} {{$v.CreatedBy}} {{$.Name}}{{end}}", "linux/arm/v7 x r/a:1"),
        ("{{if .Manifest.Nothing}}a{{else if .Name}}b{{else}}c{{end}}", "b"),
        ("{{range .Manifest.Layers}}x{{else}}none{{end}}", "none"),
        ("a  {{- /* c */ -}}  b {{- .Name -}} ", "abr/a:1"),
        ("{{$n := len .Manifest.Manifests}}{{if and (gt $n 1) (not (eq $n 3))}}{{$n}}{{end}}", "2"),
        (
            "{{range .Manifest.Manifests}}{{continue}}x{{end}}{{range .Manifest.Manifests}}{{.Digest}}{{break}}{{end}}",
            "d1",
        ),
        ("{{printf \"%-4s|%5.2s|%v %q%%\" \"ab\" \"xyz\" 3 \"q\"}}", "ab  |   xy|3 \"q\"%"),
        ("{{print 1 2 \"a\" 3}} {{upper `x`}} {{join (split \"a,b\" \",\") \"-\"}}", "1 2a3 X a-b"),
        ("{{.Name | upper | printf \"%s!\"}}", "R/A:1!"),
        ("{{$a := 1}}{{if true}}{{$a = 2}}{{end}}{{$a}}", "2"),
        ("{{\"}}\"}}", "}}"),
    ] {
        assert_eq!(text(template), expected, "{template}");
    }
}

#[test]
fn what_is_refused() {
    for (template, message) in [
        ("{{.Foo}}", "can't evaluate field Foo"),
        ("{{foo}}", "function \"foo\" not defined"),
        ("{{json foo}}", "function \"foo\" not defined"),
        ("{{if .Name}}", "unexpected EOF"),
        ("{{if", "unclosed action"),
        ("{{.Name", "unclosed action"),
        ("{{end}}", "unexpected {{end}}"),
        ("{{else}}", "unexpected {{else}}"),
        ("{{.Name .Name}}", "cannot be given arguments"),
        ("{{\"a}}", "unterminated quoted string"),
        ("{{(.Name}}", "unclosed left paren"),
        ("{{.Name)}}", "unexpected `)`"),
        ("{{$x}}", "undefined variable \"$x\""),
        ("{{index .Manifest.Manifests 5}}", "index out of range: 5"),
        ("{{.Name.Foo}}", "can't evaluate field Foo in r/a:1"),
        ("{{range .Name}}{{end}}", "range can't iterate over r/a:1"),
        ("{{lt 1 `a`}}", "incompatible types"),
        ("{{json}}", "wrong number or type of arguments"),
        ("{{template \"x\"}}", "has no use here"),
        ("{{#}}", "unexpected `#`"),
    ] {
        assert!(text(template).contains(message), "{template}: {}", text(template));
    }
    let deep = "{{if true}}".repeat(1000);
    assert!(text(&deep).contains("blocks in each other"));
}
