//! The rights of a socket's file: who may connect to a listener at a path.

use std::{fmt, io};

use nix::unistd::{Group, User, getegid, geteuid};

use super::bad_value::BadValue;

/// The rights that the file of a socket gets before anybody can connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketRights {
    /// The bits of the mode, whatever the umask is.
    pub mode: u32,
    /// The user that has the file; `None` = the user of the process.
    pub owner: Option<Account>,
    /// The group that has the file; `None` = the group of the process.
    pub group: Option<Account>,
}

impl SocketRights {
    /// Owner and group may connect.
    pub const USUAL_MODE: u32 = 0o660;
    /// Only the user of the process may connect.
    pub const OURS: Self = Self { mode: 0o600, owner: None, group: None };

    /// These rights for a file that has the rights of `before`: a user or group that is named no longer gives way to that of
    /// the process. One that was never named stays, because the folder may have given it (setgid).
    #[must_use]
    pub fn in_place_of(&self, before: &Self) -> Self {
        let or_ours = |account: &Option<Account>, before: &Option<Account>, ours: u32| {
            account.clone().or_else(|| before.as_ref().map(|_| Account::Id(ours)))
        };
        Self {
            mode: self.mode,
            owner: or_ours(&self.owner, &before.owner, geteuid().as_raw()),
            group: or_ours(&self.group, &before.group, getegid().as_raw()),
        }
    }
}

/// A user or a group, by name or by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// The number, which need not have a name.
    Id(u32),
    /// The name. It is looked up when the file gets its rights.
    Name(String),
}

/// Four octal digits: `0660`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

impl Mode {
    pub(super) const KIND: &str = "a mode of four octal digits";
    pub(super) const PATTERN: &str = r"^0[0-7]{3}$|\$\{";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        let is_octal =
            text.len() == 4 && text.starts_with('0') && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if is_octal => Ok(Self(mode)),
            // YAML reads 0o660 as a number, and what the file said is gone.
            _ => Err(BadValue::new(
                format!("`{text}` is not a mode"),
                "write four octal digits in quotes: \"0660\" for owner and group, \"0666\" for everybody",
            )),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

impl Account {
    pub(super) const KIND: &str = "a user or a group";
    pub(super) const PATTERN: &str = r"^[^\s:]+$|\$\{";

    pub(super) fn parse(text: &str) -> Result<Self, BadValue> {
        if text.is_empty() || text.contains(|c: char| c.is_control() || c.is_whitespace() || c == ':') {
            let help = "one name or number: the group stands under `group`";
            return Err(BadValue::new(format!("`{text}` is not a name or a number"), help));
        }
        // The greatest number would change nothing (chown(2)).
        match text.parse() {
            Ok(u32::MAX) => Err(BadValue::new(format!("{text} is no user or group"), "at most 4294967294")),
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Ok(Self::Name(text.to_owned())),
        }
    }
}

impl Account {
    /// The number of this user. Reads the user database (getpwnam(3), or /etc/passwd in a static program), which may block.
    ///
    /// # Errors
    /// There is no such user, or the database cannot be read.
    pub fn user(&self) -> io::Result<u32> {
        self.number("user", |name| {
            if IS_STATIC {
                return in_file("/etc/passwd", name);
            }
            Ok(User::from_name(name)?.map(|user| user.uid.as_raw()))
        })
    }

    /// The number of this group. Reads the group database (getgrnam(3), or /etc/group in a static program), which may block.
    ///
    /// # Errors
    /// There is no such group, or the database cannot be read.
    pub fn group(&self) -> io::Result<u32> {
        self.number("group", |name| {
            if IS_STATIC {
                return in_file("/etc/group", name);
            }
            Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
        })
    }

    fn number(&self, kind: &str, find: impl FnOnce(&str) -> io::Result<Option<u32>>) -> io::Result<u32> {
        match self {
            Self::Id(id) => Ok(*id),
            Self::Name(name) => find(name)?
                .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no {kind} `{name}` here"))),
        }
    }
}

/// Whether the program has the C library in it. It then cannot load the modules of nsswitch.conf, which are those of another
/// glibc, and knows the users and groups that the machine has in files.
const IS_STATIC: bool = cfg!(target_feature = "crt-static");

/// The number behind a name in a file of the form of /etc/passwd or /etc/group: `name:password:number:…`.
#[expect(clippy::disallowed_methods, reason = "accounts are looked up where files are read or made")]
fn in_file(path: &str, name: &str) -> io::Result<Option<u32>> {
    Ok(number_of(&String::from_utf8_lossy(&std::fs::read(path)?), name))
}

fn number_of(file: &str, name: &str) -> Option<u32> {
    let mut fields = file.lines().map(|line| line.split(':')).find(|fields| fields.clone().next() == Some(name))?;
    fields.nth(2)?.parse().ok()
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// As a listener is described: `mode 0660, owner app`.
impl fmt::Display for SocketRights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mode {}", Mode(self.mode))?;
        for (name, account) in [("owner", &self.owner), ("group", &self.group)] {
            if let Some(account) = account {
                write!(f, ", {name} {account}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_is_octal_and_cannot_be_taken_for_a_decimal_number() {
        for (text, mode) in [("0660", 0o660), ("0000", 0), ("0777", 0o777)] {
            let read = Mode::parse(text).unwrap();
            assert_eq!((read, read.to_string()), (Mode(mode), text.to_owned()));
        }
        for refused in ["660", "432", "0888", "1777", "00660", "", "+660", "u=rw"] {
            assert!(Mode::parse(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn an_account_is_a_number_or_a_name() {
        assert_eq!(Account::parse("0"), Ok(Account::Id(0)));
        assert_eq!(Account::parse("www-data"), Ok(Account::Name("www-data".into())));
        for refused in ["", "a:b", "a b", "4294967295", "a\n"] {
            assert!(Account::parse(refused).is_err(), "{refused:?}");
        }
        assert_eq!(Account::Name("root".into()).user().unwrap(), 0);
        assert_eq!(Account::Name("root".into()).group().unwrap(), 0);
        let nobody = Account::Name("no-such-user".into());
        assert!(nobody.user().unwrap_err().to_string().contains("there is no user `no-such-user` here"));
        assert!(nobody.group().is_err() && Account::Id(4711).group().unwrap() == 4711);
        let rights =
            SocketRights { owner: Some(Account::Id(7)), group: Some(Account::Name("app".into())), mode: 0o666 };
        assert_eq!(rights.to_string(), "mode 0666, owner 7, group app");
    }

    #[test]
    fn a_static_program_knows_the_accounts_in_files() {
        let file = "root:x:0:0:root:/root:/bin/sh\nwww:x:33:33::/var/www:\nhalf:x\n";
        assert_eq!((number_of(file, "root"), number_of(file, "www")), (Some(0), Some(33)));
        assert_eq!((number_of(file, "half"), number_of(file, "ww"), number_of(file, "x")), (None, None, None));
        assert_eq!(in_file("/etc/passwd", "root").unwrap(), Some(0));
    }

    #[test]
    fn an_account_that_is_named_no_longer_gives_way_to_ours() {
        let named = SocketRights { mode: 0o660, owner: Some(Account::Id(7)), group: None };
        let unnamed = SocketRights { mode: 0o600, owner: None, group: None };
        let ours = Some(Account::Id(geteuid().as_raw()));
        assert_eq!(unnamed.in_place_of(&named), SocketRights { owner: ours, ..unnamed.clone() });
        assert_eq!(named.in_place_of(&unnamed), named);
    }
}
