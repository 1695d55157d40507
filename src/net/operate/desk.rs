//! What the process knows of its admin interface, wherever that is: its address, and who may ask. `admin` serves it.

pub(super) mod access;
pub(super) mod answer;
pub(super) mod socket;

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

use tokio::sync::Notify;

use self::{
    access::Access,
    socket::{AdminListener, ServedSocket},
};
use crate::{
    config::{Admin, AdminBind},
    net::front::{inherited::Inherited, parcel::Sockets, socket_file},
};

/// The interface that the file asks for, ready to be served.
#[derive(Debug)]
pub(in crate::net) struct BoundAdmin {
    /// `None` = another process still has the address.
    listener: Option<AdminListener>,
    desk: Desk,
}

/// What the process knows of its admin interface.
#[derive(Debug)]
pub(in crate::net) struct Desk {
    /// The address in the file at the start. Another address needs a restart.
    bind: AdminBind,
    /// Behind a lock, because a reload reads the token again. The lock is held for the copy of a pointer.
    access: RwLock<Arc<Access>>,
    /// `None` = another process has the address: still a predecessor, or already a successor.
    served: Mutex<Option<ServedSocket>>,
    /// Notified when a successor answers in our place.
    left: Notify,
    pub(in crate::net) since: Instant,
}

/// Reads the token, and opens the address or takes it from the process that hands it over. It is no error if another
/// process has the address: that may be a predecessor that is about to end, and is waited for.
///
/// # Errors
/// The address cannot be opened, or the token cannot be read.
pub(in crate::net) fn bind(admin: &Admin, inherited: &mut Inherited) -> io::Result<BoundAdmin> {
    let access = RwLock::new(Arc::new(Access::new(admin)?));
    let (listener, served) = match socket::open(&admin.bind, inherited) {
        Ok((listener, served)) => (Some(listener), Some(served)),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            tracing::warn!(address = %admin.bind, %error, "the admin interface opens when its address is free");
            (None, None)
        }
        Err(error) => return Err(error),
    };
    let (served, left) = (Mutex::new(served), Notify::new());
    let desk = Desk { bind: admin.bind.clone(), access, served, left, since: Instant::now() };
    Ok(BoundAdmin { listener, desk })
}

impl BoundAdmin {
    /// The desk, and the listener to be served.
    pub(in crate::net) fn split(self) -> (Desk, Option<AdminListener>) {
        (self.desk, self.listener)
    }
}

impl Desk {
    /// Opens the address as soon as no other process has it.
    pub(super) async fn open(&self) -> io::Result<AdminListener> {
        let (listener, served) = socket_file::when_free(|| socket::open(&self.bind, &mut Inherited::default())).await?;
        tracing::info!(address = %served.address(), "admin interface");
        *self.served() = Some(served);
        Ok(listener)
    }

    /// The address in the file at the start.
    pub(in crate::net) const fn bind(&self) -> &AdminBind {
        &self.bind
    }

    /// The address, with the port that was really bound. `None` = another process still has it.
    pub(in crate::net) fn address(&self) -> Option<AdminBind> {
        self.served().as_ref().map(|served| served.address().clone())
    }

    /// The rules of another file, ready to be used. `None` if the file wants another address, which needs a restart.
    ///
    /// # Errors
    /// The token cannot be read.
    pub(in crate::net) fn read(&self, admin: Option<&Admin>) -> io::Result<Option<Access>> {
        // Without a restart the interface stays at its address, and must not lose the token that the file demanded for
        // this address.
        let here = admin.filter(|admin| admin.bind == self.bind);
        here.map(Access::new).transpose()
    }

    /// Gives the listening socket to a successor too.
    pub(in crate::net) fn lend(&self, sockets: &mut Sockets) -> io::Result<()> {
        self.served().as_ref().map_or(Ok(()), |served| served.lend(sockets))
    }

    /// Takes the socket back, because the successor did not take over.
    pub(in crate::net) fn take_back(&self) {
        if let Some(served) = &*self.served() {
            served.take_back();
        }
    }

    /// Ready when a successor answers in our place.
    pub(super) async fn wait_for_successor(&self) {
        self.left.notified().await;
    }

    /// Stops answering, because a successor answers from now on.
    pub(in crate::net) fn leave_to_successor(&self) {
        self.served().take();
        self.left.notify_one();
    }

    fn served(&self) -> MutexGuard<'_, Option<ServedSocket>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Uses another token and other names from now on.
    pub(in crate::net) fn change(&self, access: Access) {
        *self.access.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(access);
    }

    pub(super) fn access(&self) -> Arc<Access> {
        Arc::clone(&self.access.read().unwrap_or_else(PoisonError::into_inner))
    }
}
