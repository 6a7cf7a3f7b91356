use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::time::Duration;

use expect_test::{Expect, expect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::*;
use crate::daemon::config::Config;
use crate::daemon::status::tests::mirrored;

/// A server whose daemon hands over `db` to the other head and refuses everything else.
struct Running {
    path: PathBuf,
    changes: watch::Sender<()>,
    server: JoinHandle<()>,
}

fn socket(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("twinhead-control-{}-{name}", std::process::id()))
}

async fn run(name: &str) -> Running {
    let path = socket(name);
    let server = Server::bind(&path).await.unwrap();
    let (requests, mut asked) = mpsc::channel(1);
    let (changes, changed) = watch::channel(());
    tokio::spawn(async move {
        let mut epoch = 7;
        while let Some(request) = asked.recv().await {
            match request {
                ControlRequest::Status { reply } => {
                    let mut status = mirrored();
                    status.luns[0].epoch = epoch;
                    epoch += 1;
                    reply.send(status).unwrap();
                }
                ControlRequest::Handover { lun: LunSelector::One(LunRef::Name(name)), to, reply } if name == "db" => {
                    reply.send(Ok(format!("db: to {to:?}"))).unwrap();
                }
                ControlRequest::Handover { reply, .. } => reply.send(Err("no such LUN".to_owned())).unwrap(),
                ControlRequest::Reload { reply } => reply.send(Ok("nothing has changed".to_owned())).unwrap(),
                ControlRequest::AcceptLoss { reply, .. } | ControlRequest::Resize { reply, .. } => drop(reply),
            }
        }
    });
    Running { path, changes, server: tokio::spawn(server.serve(requests, changed)) }
}

async fn exchange(stream: &mut UnixStream, line: &str) -> String {
    stream.write_all(line.as_bytes()).await.unwrap();
    read_line(stream).await
}

async fn read_line(stream: &mut UnixStream) -> String {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(line).unwrap()
}

async fn answers(stream: &mut UnixStream, line: &str, expected: &Expect) {
    expected.assert_eq(exchange(stream, line).await.trim_end());
}

#[tokio::test]
async fn requests_are_answered_in_order() {
    let running = run("order").await;
    let mut stream = UnixStream::connect(&running.path).await.unwrap();
    let stream = &mut stream;
    answers(stream, "{\"request\":\"status\"}\n", &expect![[r#"{"ok":true,"status":{"version":1,"target":"iqn.2026-11.com.example:pair1","head":"a","heads":[{"name":"a","up":true,"incarnation":"01ab","portals":["192.0.2.1:3260"],"sessions":1},{"name":"b","up":true,"incarnation":"02cd","portals":["192.0.2.2:3260"],"sessions":1}],"luns":[{"id":0,"name":"db","owner":"a","mode":"mirrored","protected_by":"RAM of a and b","epoch":7,"dirty_bytes":12582912,"mirror_bytes":0,"size_bytes":1099511627776,"sessions":{"a":1,"b":1}}],"link":{"up":true,"peer":"198.51.100.2:3270"}}}"#]]).await;
    answers(
        stream,
        "{\"request\":\"handover\",\"lun\":\"db\",\"to\":\"b\"}\n",
        &expect![[r#"{"ok":true,"message":"db: to Some(B)"}"#]],
    )
    .await;
    answers(
        stream,
        "{\"request\":\"handover\",\"lun\":\"all\"}\n",
        &expect![[r#"{"ok":false,"error":"no such LUN"}"#]],
    )
    .await;
    answers(
        stream,
        "{\"request\":\"accept-loss\",\"lun\":0}\n",
        &expect![[r#"{"ok":false,"error":"the daemon is stopping; ask the other head"}"#]],
    )
    .await;
    answers(stream, "{\"request\":\"shutdown\"}\n", &expect![[r#"{"ok":false,"error":"this is not a request (unknown variant `shutdown`, expected one of `status`, `watch`, `handover`, `reload`, `accept-loss`, `resize` at line 1 column 21); requests are status, watch, handover with lun and optionally to, accept-loss and resize with lun"}"#]]).await;
    answers(stream, "{\"request\":\"status\",\"verbose\":true}\n", &expect![[r#"{"ok":false,"error":"this is not a request (unknown field `verbose`, there are no fields); requests are status, watch, handover with lun and optionally to, accept-loss and resize with lun"}"#]]).await;
    answers(stream, "\u{0}\n", &expect![[r#"{"ok":false,"error":"this is not a request (expected value at line 1 column 1); requests are status, watch, handover with lun and optionally to, accept-loss and resize with lun"}"#]]).await;
}

#[tokio::test]
async fn a_watch_says_the_first_status_each_change_and_one_a_second() {
    let running = run("watch").await;
    let mut stream = UnixStream::connect(&running.path).await.unwrap();
    assert!(exchange(&mut stream, "{\"request\":\"watch\"}\n").await.contains("\"epoch\":7"));
    running.changes.send(()).unwrap();
    let soon = tokio::time::timeout(Duration::from_millis(500), read_line(&mut stream)).await;
    assert!(soon.unwrap().contains("\"epoch\":8"));
    let later = tokio::time::timeout(Duration::from_secs(10), read_line(&mut stream)).await;
    assert!(later.unwrap().contains("\"epoch\":9"));
}

#[tokio::test]
async fn a_line_that_never_ends_is_refused() {
    let running = run("long").await;
    let mut stream = UnixStream::connect(&running.path).await.unwrap();
    let line = exchange(&mut stream, &"x".repeat(REQUEST_BYTES_MAX)).await;
    expect![[r#"{"ok":false,"error":"a line of more than 65536 bytes"}"#]].assert_eq(line.trim_end());
    assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0, "and the connection is closed");
}

#[tokio::test]
async fn one_client_too_many_is_told_so() {
    let running = run("many").await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = UnixStream::connect(&running.path).await.unwrap();
        exchange(&mut stream, "{\"request\":\"status\"}\n").await;
        clients.push(stream);
    }
    let mut late = UnixStream::connect(&running.path).await.unwrap();
    expect![[r#"{"ok":false,"error":"16 clients are connected already; close one and try again"}"#]]
        .assert_eq(read_line(&mut late).await.trim_end());
}

#[tokio::test]
async fn the_socket_is_private_and_goes_with_the_server() {
    let running = run("private").await;
    assert_eq!(std::fs::metadata(&running.path).unwrap().permissions().mode() & 0o777, 0o600);
    running.server.abort();
    running.server.await.unwrap_err();
    assert!(!running.path.exists());
}

#[tokio::test]
async fn only_a_stale_socket_is_replaced() {
    let path = socket("stale");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "left behind by a daemon that was killed");
    let server = Server::bind(&path).await.unwrap();
    let error = Server::bind(&path).await.unwrap_err();
    assert!(error.to_string().ends_with("is in use: another daemon listens on it"), "{error}");
    drop(server);
    std::fs::write(&path, "precious").unwrap();
    let error = Server::bind(&path).await.unwrap_err();
    assert!(error.to_string().ends_with("is there already and is not a socket"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    std::fs::remove_file(&path).unwrap();
}

#[tokio::test]
async fn the_client_speaks_the_same() {
    let running = run("client").await;
    let path = running.path.clone();
    let asked = tokio::task::spawn_blocking(move || {
        let mut client = Client::connect(&path).unwrap();
        let handover = Request::Handover { lun: LunSelector::One("db".parse().unwrap()), to: Some(HeadName::B) };
        assert_eq!(client.ask(&handover).unwrap(), Response::Done("db: to Some(B)".to_owned()));
        assert_eq!(client.ask(&Request::Watch {}).unwrap(), Response::Status(Box::new(mirrored())));
        assert!(matches!(client.next_answer().unwrap(), Response::Status(_)));
        assert!(matches!(Client::connect(&path.with_extension("no")), Err(ClientError::Unreachable { .. })));
    });
    asked.await.unwrap();
}

#[test]
fn requests_on_the_wire() {
    let lun = LunRef::Name("db".to_owned());
    let requests = [
        Request::Status {},
        Request::Watch {},
        Request::Handover { lun: LunSelector::All, to: None },
        Request::Handover { lun: LunSelector::One(LunRef::Id(3)), to: Some(HeadName::A) },
        Request::Reload {},
        Request::AcceptLoss { lun: lun.clone() },
        Request::Resize { lun },
    ];
    let lines = requests.clone().map(|request| serde_json::to_string(&request).unwrap());
    expect![[r#"
        {"request":"status"}
        {"request":"watch"}
        {"request":"handover","lun":"all"}
        {"request":"handover","lun":3,"to":"a"}
        {"request":"reload"}
        {"request":"accept-loss","lun":"db"}
        {"request":"resize","lun":"db"}"#]]
    .assert_eq(&lines.join("\n"));
    assert_eq!(lines.map(|line| serde_json::from_str::<Request>(&line).unwrap()), requests);
}

#[test]
fn a_strange_answer_is_an_error() {
    for line in ["{}", "{\"ok\":true}", "{\"ok\":false,\"message\":\"x\"}", "[]", "{\"ok\":true,\"status\":{}}"] {
        assert!(serde_json::from_str::<Response>(line).is_err(), "{line}");
    }
}

#[test]
fn luns_by_name_or_number() {
    let config = "target = { iqn = \"iqn.2026-11.com.example\" }\nheads.a.portals = [\"127.0.0.1:3260\"]\n\
                  luns = [{ id = 3, name = \"db\", disk = \"/d\" }, { id = 1, name = \"vm\", disk = \"/v\" }]";
    let luns = Config::parse(config).unwrap().luns;
    let resolve = |text: &str| text.parse::<LunSelector>().unwrap().resolve(&luns);
    assert_eq!(resolve("db"), Ok(vec![3]));
    assert_eq!(resolve("1"), Ok(vec![1]));
    assert_eq!(resolve("all"), Ok(vec![1, 3]));
    expect!["there is no LUN `log`; there is vm (1), db (3)"].assert_eq(&resolve("log").unwrap_err());
    expect!["there is no LUN 2; there is vm (1), db (3)"].assert_eq(&resolve("2").unwrap_err());
}

#[test]
fn a_client_sees_a_daemon_that_dies() {
    let path = socket("dies");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut client = Client::connect(&path).unwrap();
    let (stream, _): (StdStream, _) = listener.accept().unwrap();
    drop(stream);
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(client.ask(&Request::Status {}), Err(ClientError::Lost { .. })));
}
