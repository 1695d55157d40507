//! One connection with the server of a fleet.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf, split},
    task::coop::consume_budget,
    time::timeout_at,
};

use crate::{
    config::FleetServer,
    fleet::{FleetFailure, ReplyReader, greeting as greet},
    net::{
        backend::{
            connect::{Endpoint, connect as dial},
            own::Own,
            tls::ClientTls,
            way::Way,
        },
        counts::fleet::Fleet,
        stream::plain_or_tls::Stream,
    },
};

/// The longest time for a connection: the look-up of a name, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(3);
/// So many bytes wait to be written, and one call more.
const UNSENT: usize = 64 * 1024;
/// So many bytes are read at once. What is not a whole reply waits in the reader, `LONGEST_REPLY` at most.
const READ: usize = 16 * 1024;

/// A connection, what is to be written, and what was read.
pub(super) struct FleetLink {
    reader: ReadHalf<Stream>,
    writer: WriteHalf<Stream>,
    unsent: Vec<u8>,
    is_flushed: bool,
    /// What has just come; empty when it is told.
    unread: Vec<u8>,
    replies: ReplyReader,
}

/// Connects.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn connect(
    server: &FleetServer,
    tls: Option<&Arc<ClientTls>>,
    own: &Own,
) -> Result<FleetLink, FleetFailure> {
    let way = Way { tls: tls.filter(|_| server.is_tls).cloned() };
    let address = &server.address;
    let endpoint = Endpoint { address, authority: address, way: &way, announcement: &[] };
    let connected = dial(endpoint, own, CONNECT, |addresses| addresses.to_vec()).await;
    let connected = connected.map_err(|error| {
        let why = match std::error::Error::source(&error) {
            Some(source) => format!("{}: {source}", error.reason()),
            None => error.reason().to_owned(),
        };
        FleetFailure::NotNow(why)
    })?;
    let (reader, writer) = split(connected.stream);
    let (unsent, unread) = (Vec::new(), Vec::with_capacity(READ));
    Ok(FleetLink { reader, writer, unsent, is_flushed: true, unread, replies: ReplyReader::default() })
}

/// What a connection with a server begins with.
pub(super) fn greeting(server: &FleetServer) -> (Vec<u8>, usize) {
    greet(server.user.as_deref(), server.password.as_ref().map(|password| password.expose()), server.database)
}

impl FleetLink {
    /// Writes what there is to write, reads what comes, or waits until there is something to do. A turn that is dropped loses nothing.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub(super) async fn turn(&mut self, fleet: &Arc<Fleet>) -> Result<(), FleetFailure> {
        // Calls may come without end. The other tasks of this thread must have their turn too.
        consume_budget().await;
        let due = fleet.transmit(&mut self.unsent, UNSENT)?;
        let Self { reader, writer, unsent, is_flushed, unread, .. } = self;
        let has_more = !unsent.is_empty() || !*is_flushed;
        let event = async {
            tokio::select! {
                read = reader.read_buf(unread) => match read {
                    Ok(0) => Err(FleetFailure::NotNow("the server has closed the connection".to_owned())),
                    Ok(_) => Ok(true),
                    Err(error) => Err(lost(&error)),
                },
                sent = send(writer, unsent, is_flushed), if has_more => {
                    sent.map(|()| false).map_err(|error| lost(&error))
                }
                () = fleet.work() => Ok(false),
            }
        };
        let has_read = match due {
            Some(due) => timeout_at(due.into(), event).await.unwrap_or(Ok(false))?,
            None => event.await?,
        };
        if has_read { self.tell(fleet) } else { Ok(()) }
    }

    /// Tells the replies that have come as a whole.
    fn tell(&mut self, fleet: &Arc<Fleet>) -> Result<(), FleetFailure> {
        let mut rest = &self.unread[..];
        while let Some(reply) = self.replies.read(&mut rest).map_err(|bad| FleetFailure::Broken(bad.to_string()))? {
            fleet.reply(reply)?;
        }
        self.unread.clear();
        Ok(())
    }
}

/// Writes a part of what is to be sent, or has TLS write what it holds back.
async fn send(writer: &mut WriteHalf<Stream>, unsent: &mut Vec<u8>, is_flushed: &mut bool) -> io::Result<()> {
    if unsent.is_empty() {
        writer.flush().await?;
        *is_flushed = true;
        return Ok(());
    }
    let count = writer.write(unsent).await?;
    if count == 0 {
        return Err(io::ErrorKind::WriteZero.into());
    }
    unsent.drain(..count);
    *is_flushed = false;
    Ok(())
}

fn lost(error: &io::Error) -> FleetFailure {
    FleetFailure::NotNow(error.to_string())
}
