//! What instructions say, and what they refuse with which hint.

use super::*;
use crate::parser;

fn read(text: &str) -> Result<Kind, Error> {
    let file = parser::parse(text)?;
    Instruction::read(&file.nodes[0], file.escape, &mut Linter::default()).map(|instruction| instruction.kind)
}

#[test]
fn refused_with_the_reason() {
    for (text, reason, hint) in [
        ("RNU a", "unknown instruction: RNU", "`RUN`"),
        ("COPY --chonw=1 a b", "unknown flag: --chonw", "`chown`"),
        ("COPY --chown=1 --chown=2 a b", "duplicate flag specified: --chown", ""),
        ("COPY --link=maybe a b", "expecting boolean value for flag --link", ""),
        ("COPY --link= a b", "missing a value on flag: --link", ""),
        ("COPY ----from=x a b", "unknown flag: ----from", ""),
        ("RUN --mount= a", "the flag has no fields", ""),
        ("HEALTHCHECK CMD\u{a0}a", "unknown type", ""),
        ("COPY --from a b", "missing a value on flag: --from", ""),
        ("COPY --checksum=x a b", "unknown flag: --checksum", ""),
        ("COPY a", "requires at least two arguments", ""),
        ("COPY a <<E\nE", "cannot accept a heredoc as a destination", ""),
        ("FROM", "either one or three arguments", "FROM image"),
        ("FROM a AS", "either one or three arguments", ""),
        ("FROM a IS b", "either one or three arguments", ""),
        ("FROM a AS 9x!", "`9x!` is not a name for a stage", "letter"),
        ("ENV", "at least one argument", ""),
        ("ENV A", "needs a name and a value", "ENV A=value"),
        ("ENV =x", "name of ENV is empty", ""),
        ("ARG", "at least one argument", ""),
        ("ARG =x", "name of ARG is empty", ""),
        ("USER", "exactly one argument", ""),
        ("SHELL /bin/sh", "JSON form", "SHELL ["),
        ("SHELL []", "at least one argument", ""),
        ("HEALTHCHECK NONE x", "takes no arguments", ""),
        ("HEALTHCHECK CMD", "missing command", ""),
        ("HEALTHCHECK x", "unknown type X", "HEALTHCHECK CMD"),
        ("HEALTHCHECK --interval=1x CMD a", "unknown unit `x`", ""),
        ("HEALTHCHECK --interval=1us CMD a", "cannot be less than 1ms", ""),
        ("HEALTHCHECK --retries=-1 CMD a", "cannot be negative", ""),
        ("ONBUILD", "at least one argument", ""),
        ("ONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger", ""),
        ("ONBUILD onbuild RUN x", "ONBUILD isn't allowed", ""),
        ("RUN --network=hots a", "unsupported network mode", "`host`"),
        ("RUN --security= a", "unsupported security mode", ""),
        ("RUN --security=x a", "unsupported security mode", ""),
        ("RUN --device=x,y a", "device field `y` must be a key=value pair", ""),
        ("RUN --device=x,name=y a", "two names", ""),
        ("RUN --device=x,requird=1 a", "unexpected key `requird`", "`required`"),
        ("RUN --mount= a", "the flag has no fields", ""),
        ("ONBUILD ENV A=1 B", "`B` has no `=`", "double quotes"),
        ("ONBUILD HEALTHCHECK CMD [1]", "only strings", ""),
        ("RUN --mount=from=$X,target=/a a", "variable expansion", ""),
        ("VOLUME [\" \"]", "a path of VOLUME is empty", ""),
        ("WORKDIR --x /a", "unknown flag: --x", ""),
    ] {
        let error = read(text).expect_err(text);
        assert!(error.message.contains(reason), "{text}: {error}");
        assert!(hint.is_empty() || error.hints.iter().any(|given| given.contains(hint)), "{text}: {error:?}");
        assert_eq!(*error.lines.start(), 1, "{text}");
    }
}

#[test]
fn stages_are_named_in_lower_case() {
    let Ok(Kind::From(from)) = read("from --platform=$X a as Build-1") else { panic!("no FROM") };
    assert_eq!(
        (from.base.as_str(), from.name.as_deref(), from.platform.as_str()),
        ("a", Some("build-1"), "$X")
    );
}

#[test]
fn exec_and_shell_form() {
    let command = |text: &str| match read(text).unwrap() {
        Kind::Cmd(command) => command,
        other => panic!("{other:?}"),
    };
    assert_eq!(command(r#"CMD ["a", "b c"]"#), CommandLine::Exec(vec!["a".into(), "b c".into()]));
    assert_eq!(command("CMD a  'b'"), CommandLine::Shell("a  'b'".into()));
    assert_eq!(command("CMD ['a']"), CommandLine::Shell("['a']".into()));
}

#[test]
fn mounts() {
    let mount = |text: &str| Mount::read(text, |value| Ok(value.replace("$T", "/tt")));
    let bind = mount("target=$T,rw").unwrap();
    assert_eq!((bind.kind, bind.target.as_str(), bind.read_only), (MountType::Bind, "/tt", false));
    let cache = mount("type=cache,\"target=/a,b\",sharing=locked,uid=3,mode=0700").unwrap();
    assert_eq!(
        (cache.target.as_str(), cache.sharing, cache.uid, cache.mode, cache.read_only),
        ("/a,b", Some(Sharing::Locked), Some(3), Some(0o700), false)
    );
    assert_eq!(mount("type=tmpfs,target=/t,size=16m").unwrap().size, 16 << 20);
    assert_eq!(mount("type=tmpfs,target=/t,size=1.5KiB").unwrap().size, 1536);
    assert!(mount("type=secret,id=a,required").unwrap().required);
    for (text, reason) in [
        ("type=tmp", "unsupported mount type `tmp`"),
        ("type=cache,typ=y", "unexpected key `typ`"),
        ("target", "must be a key=value pair"),
        ("required", "secret or ssh"),
        ("size=1", "only mounts of type tmpfs"),
        ("type=tmpfs,size=x", "invalid value"),
        ("mode=1", "only mounts of type cache, secret or ssh"),
        ("sharing=locked", "only mounts of type cache"),
        ("type=cache,sharing=lockd", "unsupported sharing"),
        ("type=secret", "needs an id"),
        ("type=secret,id=a,source=b", "either a source or an id"),
        ("type=secret,id=a,from=b", "no `from`"),
        ("type=ssh,source=b", "ssh does not support source"),
        ("type=cache,uid=-1", "invalid value"),
        ("ro=maybe", "invalid value"),
        ("a\"b", "quote in the wrong place"),
        ("\"a", "quote in the wrong place"),
    ] {
        let error = mount(text).expect_err(text).at(&(1..=1));
        assert!(error.message.contains(reason), "{text}: {error}");
    }
}

#[test]
fn words_for_one_heredoc_share_its_text() {
    let Ok(Kind::Copy(copy)) = read("COPY <<a <<a <<b /\nx\na\ny\na\nz\nb\n") else { panic!("it is a COPY") };
    let texts: Vec<&str> = copy.inline.iter().map(|heredoc| &*heredoc.content).collect();
    assert_eq!(texts, ["y\n", "y\n", "z\n"], "the last one of a name is meant");
    assert!(std::sync::Arc::ptr_eq(&copy.inline[0].content, &copy.inline[1].content));
}
