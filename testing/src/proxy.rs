//! A TCP proxy on loopback that delays, chops, swallows and cuts: what networks do to connections.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// What happens to the bytes of all connections, those that are open included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Weather {
    #[default]
    Clear,
    /// Each piece waits so long.
    Slow(Duration),
    /// Nothing gets through and nobody is told; new connections open and hear nothing.
    BlackHole,
    /// One byte a write.
    Drizzle,
}

#[derive(Clone, Copy, Debug)]
struct Sky {
    weather: Weather,
    /// Rises with each cut: connections of an older age end.
    age: u64,
}

/// Passes connections on to a port. Dropping it ends them all.
pub struct Proxy {
    port: u16,
    sky: Arc<watch::Sender<Sky>>,
    /// Bytes until the next cut; negative: none is planned.
    until_cut: Arc<AtomicI64>,
    opened: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// `target`: a port on loopback. Nobody has to listen there yet.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, crate::port::free_port())).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let sky = Arc::new(watch::Sender::new(Sky { weather: Weather::Clear, age: 0 }));
        let (until_cut, opened) = (Arc::new(AtomicI64::new(-1)), Arc::new(AtomicU64::new(0)));
        let (shared, cut, count) = (Arc::clone(&sky), Arc::clone(&until_cut), Arc::clone(&opened));
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(pass(client, target, Arc::clone(&shared), Arc::clone(&cut)));
            }
        });
        Self { port, sky, until_cut, opened, task }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, weather: Weather) {
        self.sky.send_modify(|sky| sky.weather = weather);
    }

    /// Ends all connections at once.
    pub fn cut(&self) {
        self.until_cut.store(-1, Ordering::Relaxed);
        self.sky.send_modify(|sky| sky.age += 1);
    }

    /// Ends all connections when so many bytes have gone towards the target, in the middle of whatever it is.
    pub fn cut_after(&self, bytes: u32) {
        self.until_cut.store(i64::from(bytes), Ordering::Relaxed);
    }

    /// Connections so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
        self.cut();
    }
}

async fn pass(client: TcpStream, target: u16, sky: Arc<watch::Sender<Sky>>, until_cut: Arc<AtomicI64>) {
    let mut cut = sky.subscribe();
    let age = cut.borrow_and_update().age;
    let ended = async {
        let _ = cut.wait_for(|sky| sky.age != age).await;
    };
    let passed = async {
        let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await else { return };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
        // Either end closing is the end of both.
        tokio::select! {
            () = pump(from_client, to_server, &sky, Some(&until_cut)) => {}
            () = pump(from_server, to_client, &sky, None) => {}
        }
    };
    tokio::select! {
        () = ended => {}
        () = passed => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    sky: &watch::Sender<Sky>,
    until_cut: Option<&AtomicI64>,
) {
    let mut weather = sky.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if weather.wait_for(|sky| sky.weather != Weather::BlackHole).await.is_err() {
            return;
        }
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        // It may have come up while nothing was to be read.
        let Ok(now) = weather.wait_for(|sky| sky.weather != Weather::BlackHole).await.map(|sky| sky.weather) else {
            return;
        };
        let mut bytes = &buffer[..count];
        if let Some(until_cut) = until_cut
            && until_cut.load(Ordering::Relaxed) >= 0
        {
            let left = until_cut.fetch_sub(i64::try_from(count).unwrap_or(0), Ordering::Relaxed);
            if let Ok(left) = usize::try_from(left)
                && left < count
            {
                bytes = &buffer[..left];
            }
        }
        if write(&mut to, bytes, now).await.is_err() {
            return;
        }
        if bytes.len() < count {
            sky.send_modify(|sky| sky.age += 1);
            return;
        }
    }
}

async fn write(to: &mut OwnedWriteHalf, bytes: &[u8], weather: Weather) -> std::io::Result<()> {
    match weather {
        Weather::Drizzle => {
            for byte in bytes.chunks(1) {
                to.write_all(byte).await?;
                tokio::task::yield_now().await;
            }
            Ok(())
        }
        Weather::Slow(delay) => {
            tokio::time::sleep(delay).await;
            to.write_all(bytes).await
        }
        Weather::Clear | Weather::BlackHole => to.write_all(bytes).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn said(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn bytes_pass_in_any_weather_but_a_black_hole_and_a_cut_ends_them() {
        let proxy = Proxy::start(echo().await).await;
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        for weather in [Weather::Clear, Weather::Drizzle, Weather::Slow(Duration::from_millis(1))] {
            proxy.set(weather);
            assert_eq!(said(&mut stream, b"hello").await.unwrap(), b"hello", "{weather:?}");
        }
        proxy.set(Weather::BlackHole);
        let waiting = tokio::time::timeout(Duration::from_millis(100), said(&mut stream, b"hello")).await;
        assert!(waiting.is_err(), "something came through a black hole");
        proxy.set(Weather::Clear);
        let mut rest = [0; 5];
        stream.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"hello");
        proxy.cut();
        assert!(said(&mut stream, b"hello").await.is_err());
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).await.unwrap();
        proxy.cut_after(7);
        assert_eq!(said(&mut stream, b"hello").await.unwrap(), b"hello");
        assert!(said(&mut stream, b"hello").await.is_err(), "cut after two bytes of it");
        assert_eq!(proxy.opened(), 2);
    }
}
