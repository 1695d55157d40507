//! A small layer-4 balancer for benches/fleet/real: it hashes the client's address by the very table of the simulation, and passes the
//! connection on from that address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpSocket, TcpStream},
    runtime,
    time::{interval, timeout},
};

use crate::model::maglev::{Table, hash_of_address};

/// A check that took so long has failed, and so has a connection to an instance.
const DEADLINE: Duration = Duration::from_secs(2);

/// An instance: where it serves, and where it says whether it is ready.
#[derive(Clone, Copy)]
struct Place {
    serves: SocketAddr,
    ready: SocketAddr,
}

/// Serves until the process is ended. `arguments`: its own address, milliseconds between two checks, and `SERVES=READY` of each
/// instance.
pub fn serve(arguments: &[String]) -> Result<(), String> {
    let [own, every, places @ ..] = arguments else { return Err("balance ADDRESS MILLIS SERVES=READY...".to_owned()) };
    let address = |word: &str| word.parse::<SocketAddr>().map_err(|error| format!("{word}: {error}"));
    let place = |word: &String| {
        let (serves, ready) = word.split_once('=').ok_or_else(|| format!("{word}: not SERVES=READY"))?;
        Ok(Place { serves: address(serves)?, ready: address(ready)? })
    };
    let places = places.iter().map(place).collect::<Result<Vec<_>, String>>()?;
    let every = Duration::from_millis(every.parse().map_err(|error| format!("{every}: {error}"))?);
    let own = address(own)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(run(own, every, places)).map_err(|error| error.to_string())
}

async fn run(own: SocketAddr, every: Duration, places: Vec<Place>) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(own)?;
    let listener: TcpListener = socket.listen(4096)?;
    let length = Table::length(places.len());
    let table = Arc::new(Mutex::new(Arc::new(Table::new(length, &vec![false; places.len()]))));
    tokio::spawn(check(places.clone(), every, length, Arc::clone(&table)));
    loop {
        let (client, from) = listener.accept().await?;
        let IpAddr::V4(address) = from.ip() else { continue };
        let now = Arc::clone(&table.lock().unwrap_or_else(PoisonError::into_inner));
        let Some(place) = now.instance(hash_of_address(address.into())) else { continue };
        tokio::spawn(pass(client, from.ip(), places[usize::from(place)].serves));
    }
}

/// Passes a connection on. If either side breaks, so does the other.
async fn pass(mut client: TcpStream, from: IpAddr, to: SocketAddr) {
    let connect = async {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        socket.connect(to).await
    };
    if let Ok(Ok(mut instance)) = timeout(DEADLINE, connect).await {
        _ = client.set_nodelay(true);
        _ = instance.set_nodelay(true);
        _ = copy_bidirectional(&mut client, &mut instance).await;
    }
}

/// Asks all instances again and again whether they are ready, and builds the table anew where that has changed.
async fn check(places: Vec<Place>, every: Duration, length: usize, table: Arc<Mutex<Arc<Table>>>) {
    let mut were_ready = vec![false; places.len()];
    let mut ticks = interval(every);
    loop {
        ticks.tick().await;
        let mut are_ready = Vec::with_capacity(places.len());
        for place in &places {
            are_ready.push(matches!(timeout(DEADLINE, is_ready(place.ready)).await, Ok(Ok(true))));
        }
        if are_ready != were_ready {
            println!("{are_ready:?}");
            *table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Table::new(length, &are_ready));
            were_ready = are_ready;
        }
    }
}

async fn is_ready(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    Ok(&head == b"HTTP/1.1 200")
}
