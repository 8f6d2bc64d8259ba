//! Transfers from a real web server that misbehaves.

use std::io::Write as _;

use gantry_engine::Secret;
use gantry_testkit::{Page, WebServer};

use super::*;

fn request(url: String) -> FetchRequest {
    FetchRequest { url, headers: Vec::new(), authorization: None, known: None }
}

/// What arrives, or the message.
async fn fetched(downloads: &Downloads, request: &FetchRequest) -> Result<Vec<u8>, String> {
    let mut sink = Vec::new();
    downloads.fetch(request, &mut sink).await.map_err(|error| error.message)?;
    Ok(sink)
}

/// A page that breaks off, from a server that can go on.
fn broken(etag: &str) -> Page {
    let page = Page::new("0123456789").header("Accept-Ranges", "bytes").header("ETag", etag);
    Page { breaks_after: Some(4), ..page }
}

#[tokio::test]
async fn what_breaks_off_goes_on_if_it_is_surely_the_same() {
    let web = WebServer::start();
    let downloads = Downloads::default();
    web.put("/strong", broken("\"1\""));
    assert_eq!(fetched(&downloads, &request(web.url("/strong"))).await.unwrap(), b"0123456789");
    let seen = web.take_seen();
    assert_eq!(seen.iter().map(|seen| seen.status).collect::<Vec<_>>(), [200, 206]);
    assert_eq!(seen[1].headers["range"], "bytes=4-");
    web.put("/weak", broken("W/\"1\""));
    let refused = fetched(&downloads, &request(web.url("/weak"))).await.unwrap_err();
    assert!(refused.contains("cannot fetch `http://127.0.0.1"), "{refused}");
}

#[tokio::test]
async fn compressed_transfers_arrive_as_what_was_compressed() {
    let web = WebServer::start();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"plain").unwrap();
    web.put("/f", Page::new(gzip.finish().unwrap()).header("Content-Encoding", "gzip"));
    let downloads = Downloads::default();
    assert_eq!(fetched(&downloads, &request(web.url("/f"))).await.unwrap(), b"plain");
    assert_eq!(web.take_seen()[0].headers["accept-encoding"], "gzip");
}

#[tokio::test]
async fn credentials_stay_with_their_server_and_proxies_do_not_stand_before_this_machine() {
    let (web, other) = (WebServer::start(), WebServer::start());
    other.put("/f", Page::new("x"));
    web.put("/f", Page::redirect(&other.url("/f")));
    // Nobody listens there.
    let proxy = ("HTTP_PROXY".into(), "http://127.0.0.1:1".into());
    let downloads = Downloads::new(vec![proxy]);
    let authorization = Some(Secret::new("Bearer token"));
    let request = FetchRequest { authorization, ..request(web.url("/f")) };
    assert_eq!(fetched(&downloads, &request).await.unwrap(), b"x");
    assert_eq!(web.take_seen()[0].headers["authorization"], "Bearer token");
    assert!(!other.take_seen()[0].headers.contains_key("authorization"));
}

#[test]
fn addresses_are_shown_without_secrets() {
    assert_eq!(shown("https://u:pw@h.test/a?sig=secret"), "https://xxxxx@h.test/a?…");
    assert_eq!(shown("https://h.test/a"), "https://h.test/a");
    assert_eq!(shown("nonsense"), "nonsense");
}
