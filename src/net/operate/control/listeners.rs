//! The listening sockets of a running proxy. They come and go, get other certificates, and go to a successor.

use std::{
    io, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use crate::{
    config::{Config, ListenAddress, Listener, SocketRights, Tcp},
    net::{
        backend::own::Own,
        front::{
            bind::{StartError, bind, load_manners},
            inherited::Inherited,
            listener::{Bound, Crew, Listening, UnboundManners},
            parcel::Sockets,
            tickets::Tickets,
        },
    },
};

/// How long the listeners may take to close.
const PATIENCE: Duration = Duration::from_secs(5);

/// The listeners of the process.
#[derive(Debug)]
pub(super) struct Listeners {
    crew: Crew,
    /// The keys of TLS tickets, for all listeners.
    tickets: Arc<Tickets>,
    /// Notes on which addresses this process accepts: no backend may be there.
    own: Arc<Own>,
    /// `None` = they are closed for good. A lock that is held for no file and for no wait.
    open: Mutex<Option<Vec<Listening>>>,
}

/// A listener as a new file wants it. What can fail has been done.
#[derive(Debug)]
pub(super) enum Wanted {
    /// The listener on this address of the file goes on, and its connections begin like this. Its file has these rights
    /// already.
    Stays(ListenAddress, UnboundManners, SocketRights),
    Comes(Bound),
}

/// The addresses that a change of the listeners added and removed.
#[derive(Debug, Default)]
pub(super) struct Moved {
    pub(super) added: Vec<ListenAddress>,
    pub(super) removed: Vec<ListenAddress>,
}

impl Listeners {
    /// Accepts connections from now on.
    ///
    /// # Errors
    /// A socket cannot be duplicated.
    pub(super) fn start(
        crew: Crew,
        tickets: Arc<Tickets>,
        own: Arc<Own>,
        bound: Vec<Bound>,
    ) -> Result<Self, StartError> {
        let accept = |bound: Bound| {
            let bind = bound.bind.clone();
            crew.accept(bound).map_err(|error| StartError::Bind(bind, error))
        };
        let open = bound.into_iter().map(accept).collect::<Result<Vec<_>, _>>()?;
        note_own(&own, &open);
        Ok(Self { crew, tickets, own, open: Mutex::new(Some(open)) })
    }

    /// The addresses in the order of the file, with the ports that were really bound.
    pub(super) fn addresses(&self) -> Vec<ListenAddress> {
        self.open().iter().flatten().map(Listening::address).collect()
    }

    /// Whether another process keeps some of the sockets.
    pub(super) fn are_kept(&self) -> bool {
        self.open().iter().flatten().any(Listening::is_shared)
    }

    /// Whether they are closed for good.
    pub(super) fn are_closed(&self) -> bool {
        self.open().is_none()
    }

    /// Does everything for the listeners of a new file that can fail: reads certificates, and binds addresses that are not
    /// bound yet. Nothing is accepted on these before [`Self::change`]. At last it sets the rights of the files of sockets.
    ///
    /// # Errors
    /// An address that cannot be bound, a certificate that cannot be read, rights that cannot be set.
    pub(super) fn prepare(&self, config: &Config) -> Result<Vec<Wanted>, StartError> {
        let mut binds: Vec<_> = self.open().iter().flatten().map(|listening| listening.bind.clone()).collect();
        let mut wanted = Vec::with_capacity(config.listeners.len());
        for listener in &config.listeners {
            // The same address can stand here twice only if its port is 0. Such listeners are matched in their order.
            wanted.push(match binds.iter().position(|bind| *bind == listener.bind) {
                Some(place) => {
                    let manners = load_manners(listener, &self.tickets)?;
                    Wanted::Stays(binds.remove(place), manners, listener.rights.clone())
                }
                None => Wanted::Comes(bind(listener, &config.tcp, &self.tickets, &mut Inherited::default())?),
            });
        }
        self.set_rights(&config.listeners)?;
        Ok(wanted)
    }

    /// Gives the files of the sockets that stay the rights of a new configuration. If one cannot have them, all have those of
    /// before.
    fn set_rights(&self, listeners: &[Listener]) -> Result<(), StartError> {
        let of = |listening: &Listening| {
            let listener = listeners.iter().find(|listener| listener.bind == listening.bind)?;
            listening.file().map(|(file, before)| (listener, file, before))
        };
        // Names of users are looked up and files are changed without the lock.
        let files: Vec<_> = self.open().iter().flatten().filter_map(of).collect();
        for (place, (listener, file, before)) in files.iter().enumerate() {
            match file.set_rights(&listener.rights.in_place_of(before)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound && !file.is_there() => {
                    tracing::warn!(address = %listener.bind, "nobody finds this listener: its file is gone from the path");
                }
                Err(error) => {
                    for (listener, file, before) in &files[..=place] {
                        if let Err(error) = file.set_rights(&before.in_place_of(&listener.rights)) {
                            tracing::warn!(address = %listener.bind, %error, "the file of the socket keeps its new rights");
                        }
                    }
                    return Err(StartError::Bind(listener.bind.clone(), error));
                }
            }
        }
        Ok(())
    }

    /// Accepts on exactly these listeners from now on. Only the duplication of a descriptor can fail here, which loses one
    /// new listener. Nothing changes if the listeners were closed meanwhile.
    pub(super) fn change(&self, wanted: Vec<Wanted>, tcp: &Tcp) -> Moved {
        let (mut guard, mut moved) = (self.open(), Moved::default());
        let Some(open) = guard.as_mut() else { return moved };
        let mut before = mem::take(open);
        for wanted in wanted {
            match wanted {
                Wanted::Stays(bind, manners, rights) => {
                    let Some(place) = before.iter().position(|listening| listening.bind == bind) else { continue };
                    let mut listening = before.remove(place);
                    renew(&listening, manners, tcp);
                    listening.note_rights(rights);
                    open.push(listening);
                }
                Wanted::Comes(bound) => match self.crew.accept(bound) {
                    Ok(listening) => {
                        moved.added.push(listening.address());
                        open.push(listening);
                    }
                    Err(error) => tracing::error!(%error, "a new listener was lost"),
                },
            }
        }
        note_own(&self.own, open);
        // The end of a listener touches a file.
        drop(guard);
        for gone in before {
            moved.removed.push(gone.address());
            // The loop goes on accepting the clients that wait. Nobody waits for its end here.
            drop(gone.end());
        }
        moved
    }

    /// Adds copies of the sockets, for a successor. From now on it may accept the clients that wait there.
    pub(super) fn lend(&self, sockets: &mut Sockets) -> io::Result<()> {
        for listening in self.open().iter().flatten() {
            match listening.lend()? {
                (socket, Some(file)) => sockets.add_path(&socket, file)?,
                (socket, None) => sockets.listeners.push((socket, listening.origin())),
            }
        }
        Ok(())
    }

    /// Makes the files of the sockets ours, because the predecessor has gone.
    pub(super) fn take_files(&self) {
        self.open().iter().flatten().for_each(Listening::take_file);
    }

    /// The keys of TLS tickets, for a successor.
    pub(super) fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// Takes the sockets back, because the successor did not take over.
    pub(super) fn take_back(&self) {
        self.open().iter().flatten().for_each(Listening::take_back);
    }

    /// Closes them for good. Ready when nothing is accepted any more.
    pub(super) async fn close(&self) {
        let open = self.open().take();
        let loops: Vec<_> = open.into_iter().flatten().map(Listening::end).collect();
        let ends = async {
            for accepting in loops {
                // An error says that the loop's worker has stopped.
                let _ = accepting.await;
            }
        };
        if timeout(PATIENCE, ends).await.is_err() {
            tracing::warn!("a listener was still accepting when it should have closed");
        }
    }

    fn open(&self) -> MutexGuard<'_, Option<Vec<Listening>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives a listener other manners and other options. Connections that it has accepted keep theirs.
fn renew(listening: &Listening, manners: UnboundManners, tcp: &Tcp) {
    listening.face.change_manners(manners.at(&listening.address()));
    if let Err(error) = listening.set_options(tcp) {
        tracing::warn!(address = %listening.address(), %error, "the options of a listener cannot be set");
    }
}

fn note_own(own: &Own, open: &[Listening]) {
    own.set(open.iter().map(|listening| listening.place.clone()).collect());
}
