//! Transfers from a real web server that misbehaves.

use std::io::Write as _;

use gantry_engine::Secret;
use gantry_testkit::{ForwardProxy, Page, WebServer};

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
    let downloads = Downloads::new(proxied("HTTP_PROXY", "http://127.0.0.1:1"));
    let authorization = Some(Secret::new("Bearer token"));
    let request = FetchRequest { authorization, ..request(web.url("/f")) };
    assert_eq!(fetched(&downloads, &request).await.unwrap(), b"x");
    assert_eq!(web.take_seen()[0].headers["authorization"], "Bearer token");
    assert!(!other.take_seen()[0].headers.contains_key("authorization"));
}

fn proxied(variable: &str, address: &str) -> Proxies {
    Proxies::from_variables(|name| (name == variable).then(|| address.to_owned())).unwrap()
}

#[tokio::test]
async fn proxies_of_both_kinds_are_asked_with_their_logins() {
    let web = WebServer::start();
    web.put("/f", Page::new("far"));
    let host = web.url("/").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let socks = ForwardProxy::socks5(&host);
    let downloads = Downloads::new(proxied("ALL_PROXY", &format!("socks5h://a:b%3Ac@{}", socks.host())));
    assert_eq!(fetched(&downloads, &request("http://far.test/f".to_owned())).await.unwrap(), b"far");
    let tunnels = socks.tunnels();
    assert_eq!(tunnels[0].to, "far.test:80");
    assert_eq!(tunnels[0].login.as_deref(), Some("a:b:c"));
    // What an HTTP proxy is asked for arrives here with the whole address, and this server answers as one.
    let downloads = Downloads::new(proxied("http_proxy", &format!("a:b@{host}")));
    let _ = fetched(&downloads, &request("http://far.test/f".to_owned())).await;
    let seen = web.take_seen();
    let asked = seen.last().unwrap();
    assert_eq!(
        (asked.headers["host"].as_str(), asked.headers["proxy-authorization"].as_str()),
        ("far.test", "Basic YTpi")
    );
}

#[test]
fn a_transfer_that_makes_no_progress_ends() {
    let mut patience = Patience::default();
    let pauses: Vec<_> = (1..=5).map(|bytes| patience.pause(bytes)).collect();
    let milliseconds = |count| Some(Duration::from_millis(count));
    assert_eq!(pauses, [milliseconds(300), milliseconds(600), milliseconds(1200), None, None]);
    let mut patience = Patience::default();
    assert!((1..=100).all(|part| patience.pause(part * REAL_PROGRESS) == Some(FIRST_PAUSE)));
    assert_eq!(patience.pause(100 * REAL_PROGRESS + 1), milliseconds(600));
}

#[test]
fn addresses_are_shown_without_secrets() {
    assert_eq!(shown("https://u:pw@h.test/a?sig=secret"), "https://xxxxx:xxxxx@h.test/a?…");
    assert_eq!(shown("https://h.test/a"), "https://h.test/a");
    assert_eq!(shown("nonsense"), "nonsense");
}
