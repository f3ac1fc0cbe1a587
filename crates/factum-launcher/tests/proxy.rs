//! Each fault of the proxy, seen from both ends of a connection.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use factum_launcher::{End, Proxy, Way};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const WATCHDOG: Duration = Duration::from_secs(30);
/// Long enough that what may come would have come.
const SILENCE: Duration = Duration::from_millis(100);

/// Both ends of connections through a proxy.
struct Line {
    proxy: Proxy,
    listener: TcpListener,
}

impl Line {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Proxy::to(listener.local_addr().unwrap()).await.unwrap();
        Self { proxy, listener }
    }

    /// The client's end and the server's.
    async fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.proxy.address()).await.unwrap();
        let (server, _) = soon(self.listener.accept()).await.unwrap();
        (client, server)
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(WATCHDOG, future).await.expect("in time")
}

async fn receives(stream: &mut TcpStream, expected: &str) {
    let mut bytes = vec![0; expected.len()];
    soon(stream.read_exact(&mut bytes)).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&bytes), expected);
}

async fn is_silent(stream: &mut TcpStream) {
    let mut byte = [0];
    assert!(timeout(SILENCE, stream.read(&mut byte)).await.is_err(), "{byte:?} came");
}

/// All that is left to read, and how it ended.
async fn to_the_end(stream: &mut TcpStream) -> (String, Option<ErrorKind>) {
    let mut bytes = Vec::new();
    let outcome = soon(stream.read_to_end(&mut bytes)).await;
    (String::from_utf8(bytes).unwrap(), outcome.err().map(|error| error.kind()))
}

#[tokio::test]
async fn without_faults_bytes_and_ends_pass_and_are_counted() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    client.write_all(b"question").await.unwrap();
    receives(&mut server, "question").await;
    client.shutdown().await.unwrap();
    assert_eq!(to_the_end(&mut server).await, (String::new(), None));
    server.write_all(b"late answer").await.unwrap();
    drop(server);
    assert_eq!(to_the_end(&mut client).await, ("late answer".into(), None));
    let counts = soon(line.proxy.until(|counts| counts.ended == 1)).await;
    assert_eq!((counts.accepted, counts.open(), counts.cut, counts.swallowed), (1, 0, 0, 0));
    assert_eq!(Way::BOTH.map(|way| counts.bytes(way)), [8, 11]);
    assert_eq!(line.proxy.connections(), 0);
}

#[tokio::test]
async fn a_megabyte_arrives_as_it_was_sent() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    let sent: String = (0..1_000_000).map(|number| char::from(b'a' + (number % 23) as u8)).collect();
    let (outcome, received) = tokio::join!(
        async {
            client.write_all(sent.as_bytes()).await?;
            client.shutdown().await
        },
        to_the_end(&mut server)
    );
    outcome.unwrap();
    assert!(received == (sent, None));
}

#[tokio::test]
async fn a_url_leads_through_the_proxy() {
    let proxy = Proxy::to(SocketAddr::from(([127, 0, 0, 1], 1))).await.unwrap();
    let address = proxy.address();
    for (url, expected) in [
        ("postgres://me:p%40ss@127.0.0.1:1/shop?x=1", format!("postgres://me:p%40ss@{address}/shop?x=1")),
        ("nats://localhost", format!("nats://{address}")),
        ("amqp://guest:guest@[::1]:5672/%2f", format!("amqp://guest:guest@{address}/%2f")),
    ] {
        assert_eq!(proxy.instead_of(url), expected);
    }
}

#[tokio::test]
async fn one_direction_is_delayed_and_the_other_is_not() {
    const DELAY: Duration = Duration::from_millis(300);
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.delay(Way::ToServer, DELAY);
    let begin = Instant::now();
    client.write_all(b"slow").await.unwrap();
    server.write_all(b"fast").await.unwrap();
    receives(&mut client, "fast").await;
    assert!(begin.elapsed() < DELAY);
    receives(&mut server, "slow").await;
    assert!(begin.elapsed() >= DELAY);
    // What waits already leaves as soon as the delay is taken away.
    line.proxy.delay(Way::ToServer, Duration::from_secs(1_000));
    client.write_all(b"freed").await.unwrap();
    is_silent(&mut server).await;
    line.proxy.heal();
    receives(&mut server, "freed").await;
}

#[tokio::test]
async fn a_throttled_direction_takes_its_time() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.throttle(Way::ToServer, Some(2_000));
    let begin = Instant::now();
    client.write_all(&[b'x'; 1_000]).await.unwrap();
    receives(&mut server, &"x".repeat(1_000)).await;
    // The first piece, a twentieth of a second's, does not wait.
    assert!(begin.elapsed() >= Duration::from_millis(450), "{:?}", begin.elapsed());
    line.proxy.throttle(Way::ToServer, Some(1));
    client.write_all(&[b'y'; 1_000]).await.unwrap();
    line.proxy.throttle(Way::ToServer, None);
    receives(&mut server, &"y".repeat(1_000)).await;
}

#[tokio::test]
async fn a_stall_holds_back_and_loses_nothing() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.stall(Way::ToServer, true);
    client.write_all(b"waits").await.unwrap();
    client.shutdown().await.unwrap();
    server.write_all(b"passes").await.unwrap();
    receives(&mut client, "passes").await;
    is_silent(&mut server).await;
    line.proxy.stall(Way::ToServer, false);
    assert_eq!(to_the_end(&mut server).await, ("waits".into(), None));
}

#[tokio::test]
async fn a_black_hole_takes_bytes_and_ends_and_says_nothing() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.swallow(Way::ToClient, true);
    client.write_all(b"question").await.unwrap();
    receives(&mut server, "question").await;
    server.write_all(b"answer").await.unwrap();
    soon(line.proxy.until(|counts| counts.swallowed == 6)).await;
    is_silent(&mut client).await;
    // It lost bytes: what comes later would be garbage.
    line.proxy.heal();
    server.write_all(b"garbage").await.unwrap();
    drop(server);
    is_silent(&mut client).await;
    assert_eq!(line.proxy.counts().swallowed, 13);
    let (mut client, mut server) = line.connect().await;
    server.write_all(b"anew").await.unwrap();
    receives(&mut client, "anew").await;
}

#[tokio::test]
async fn a_connection_that_lost_nothing_in_a_black_hole_goes_on() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    for way in Way::BOTH {
        line.proxy.swallow(way, true);
    }
    client.shutdown().await.unwrap();
    is_silent(&mut server).await;
    line.proxy.heal();
    assert_eq!(to_the_end(&mut server).await, (String::new(), None));
}

#[tokio::test]
async fn every_byte_can_be_the_last_one() {
    let line = Line::new().await;
    for bytes in 0..=6 {
        for way in Way::BOTH {
            for end in [End::Close, End::Reset] {
                let (client, server) = line.connect().await;
                let (mut from, mut to) = match way {
                    Way::ToServer => (client, server),
                    Way::ToClient => (server, client),
                };
                from.write_all(b"earlier").await.unwrap();
                receives(&mut to, "earlier").await;
                let before = line.proxy.counts();
                line.proxy.cut_after(way, bytes, end);
                from.write_all(b"abcdef").await.unwrap();
                let kind = (end == End::Reset).then_some(ErrorKind::ConnectionReset);
                let expected = "abcdef".split_at(bytes as usize).0;
                assert_eq!(to_the_end(&mut to).await, (expected.into(), kind), "{way:?} {end:?}");
                assert_eq!(to_the_end(&mut from).await, (String::new(), kind), "{way:?} {end:?}");
                let counts = soon(line.proxy.until(|counts| counts.ended > before.ended)).await;
                assert_eq!((counts.cut, counts.bytes(way)), (before.cut + 1, before.bytes(way) + bytes));
            }
        }
    }
}

#[tokio::test]
async fn a_cut_serves_once_and_counts_for_each_connection() {
    let line = Line::new().await;
    let (mut first, mut first_server) = line.connect().await;
    let (mut second, mut second_server) = line.connect().await;
    line.proxy.cut_after(Way::ToServer, 4, End::Close);
    first.write_all(b"abc").await.unwrap();
    receives(&mut first_server, "abc").await;
    second.write_all(b"abc").await.unwrap();
    receives(&mut second_server, "abc").await;
    second.write_all(b"de").await.unwrap();
    assert_eq!(to_the_end(&mut second_server).await, ("d".into(), None));
    first.write_all(b"def").await.unwrap();
    receives(&mut first_server, "def").await;
    assert_eq!((line.proxy.counts().cut, line.proxy.connections()), (1, 1));
}

#[tokio::test]
async fn a_later_cut_replaces_an_earlier_one_and_counts_anew() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.cut_after(Way::ToServer, 4, End::Close);
    client.write_all(b"abc").await.unwrap();
    receives(&mut server, "abc").await;
    line.proxy.cut_after(Way::ToServer, 4, End::Close);
    client.write_all(b"defghi").await.unwrap();
    assert_eq!(to_the_end(&mut server).await, ("defg".into(), None));
    assert_eq!(line.proxy.counts().cut, 1);
}

#[tokio::test]
async fn bytes_of_the_last_moment_do_not_turn_a_close_into_a_reset() {
    let line = Line::new().await;
    for _ in 0..50 {
        let (mut client, mut server) = line.connect().await;
        client.write_all(b"last words").await.unwrap();
        line.proxy.end_all(End::Close);
        assert_eq!(to_the_end(&mut client).await, (String::new(), None));
        assert_eq!(to_the_end(&mut server).await.1, None);
    }
}

#[tokio::test]
async fn all_connections_end_as_asked_and_new_ones_are_admitted() {
    let line = Line::new().await;
    for (ended, end, kind) in [(2, End::Close, None), (4, End::Reset, Some(ErrorKind::ConnectionReset))] {
        let ends = [line.connect().await, line.connect().await];
        assert_eq!(line.proxy.connections(), 2);
        line.proxy.end_all(end);
        soon(line.proxy.until(|counts| counts.ended == ended)).await;
        for (mut client, mut server) in ends {
            assert_eq!(to_the_end(&mut client).await, (String::new(), kind));
            assert_eq!(to_the_end(&mut server).await, (String::new(), kind));
        }
    }
    let (mut client, mut server) = line.connect().await;
    client.write_all(b"anew").await.unwrap();
    receives(&mut server, "anew").await;
}

#[tokio::test]
async fn a_reset_passes_through() {
    let line = Line::new().await;
    let (client, mut server) = line.connect().await;
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(to_the_end(&mut server).await, (String::new(), Some(ErrorKind::ConnectionReset)));
}

#[tokio::test]
async fn a_closed_port_refuses_and_keeps_what_is_open() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    line.proxy.refuse().await.unwrap();
    let error = TcpStream::connect(line.proxy.address()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"still here").await.unwrap();
    receives(&mut server, "still here").await;
    line.proxy.admit().await.unwrap();
    line.connect().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_the_client() {
    let line = Line::new().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    line.proxy.redirect(nobody);
    let mut client = TcpStream::connect(line.proxy.address()).await.unwrap();
    assert_eq!(to_the_end(&mut client).await.1, Some(ErrorKind::ConnectionReset));
    line.proxy.redirect(line.listener.local_addr().unwrap());
    line.connect().await;
}

#[tokio::test]
async fn a_dropped_proxy_closes_its_connections_and_its_port() {
    let line = Line::new().await;
    let (mut client, mut server) = line.connect().await;
    let address = line.proxy.address();
    drop(line.proxy);
    assert_eq!(to_the_end(&mut client).await, (String::new(), None));
    assert_eq!(to_the_end(&mut server).await, (String::new(), None));
    assert!(TcpStream::connect(address).await.is_err());
}
