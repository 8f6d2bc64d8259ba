//! What `gantry publish --list` shows: results of the store, and publishes that did not end, as a table or as JSON.

use gantry_release::{ImageResult, PublicationState, UnfinishedPublication};
use serde_json::{Value, json};

/// Digits of a digest that the table shows: those that docker shows.
const SHOWN_DIGITS: usize = 12;

/// The same as a document, drawn in `docs/publishing.md`.
pub(super) fn document(results: &[ImageResult], unfinished: &[UnfinishedPublication]) -> String {
    let results: Vec<Value> = results.iter().map(result).collect();
    let unfinished: Vec<Value> = unfinished.iter().map(publication).collect();
    let document = json!({ "results": results, "unfinished": unfinished });
    serde_json::to_string_pretty(&document).expect("a list is plain data") + "\n"
}

fn result(result: &ImageResult) -> Value {
    let names = result.names.iter().map(|name| {
        json!({
            "name": name.name,
            "built": name.built.map(time),
            "published": name.published.map(time),
            "current": name.is_current,
        })
    });
    json!({
        "digest": result.image.root.digest,
        "mediaType": result.image.root.media_type,
        "built": time(result.created),
        "platforms": result.image.platforms,
        "outputs": result.image.outputs,
        "names": names.collect::<Vec<_>>(),
    })
}

fn publication(unfinished: &UnfinishedPublication) -> Value {
    json!({
        "digest": unfinished.root,
        "begun": time(unfinished.started),
        "state": match unfinished.state {
            PublicationState::Uploading => "uploading",
            PublicationState::Proven => "verified",
        },
        "names": unfinished.names,
        "tagged": unfinished.tagged,
        "lost": unfinished.lost,
    })
}

fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

/// The results as a table, and what did not end below it.
pub(super) fn table(results: &[ImageResult], unfinished: &[UnfinishedPublication]) -> String {
    let heads = ["RESULT", "BUILT", "PLATFORMS", "NAMES"].map(str::to_owned);
    let rows: Vec<[String; 4]> = std::iter::once(heads).chain(results.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    let mut text = String::new();
    for [result, built, platforms, names] in &rows {
        let line =
            format!("{result:<0$}  {built:<1$}  {platforms:<2$}  {names}", widths[0], widths[1], widths[2]);
        text.push_str(line.trim_end());
        text.push('\n');
    }
    for publication in unfinished {
        text.push_str(&line_about(publication));
    }
    text
}

fn line_about(unfinished: &UnfinishedPublication) -> String {
    let began = time(unfinished.started);
    let state = match unfinished.state {
        PublicationState::Uploading => "was not yet verified".to_owned(),
        PublicationState::Proven => {
            format!("was verified, and had {} of {} tags", unfinished.tagged.len(), unfinished.names.len())
        }
    };
    let digits = &unfinished.root.hex()[..SHOWN_DIGITS];
    format!("not ended: {digits} as {}, begun {began}: it {state}\n", unfinished.names.join(", "))
}

fn row(result: &ImageResult) -> [String; 4] {
    let names = result.names.iter().map(|name| match name.published {
        Some(_) => format!("{} (published)", name.name),
        None => name.name.clone(),
    });
    let image = &result.image;
    [
        image.root.digest.hex()[..SHOWN_DIGITS].to_owned(),
        time(result.created),
        image.platforms.join(","),
        names.collect::<Vec<_>>().join(", "),
    ]
}
