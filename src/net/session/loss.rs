//! What an error of a stream says of the far end.

use std::io::{self, ErrorKind};

use rustix::io::Errno;

use crate::ws::termination::Loss;

/// How a connection ended on which reading or writing failed.
///
/// The kernel reports ICMP errors that it got in the meantime when it gives the connection up. The errors below are
/// those of `icmp_err_convert` in Linux that name the far end.
pub(in crate::net) fn loss(error: &io::Error) -> Loss {
    match Errno::from_io_error(error) {
        Some(Errno::TIMEDOUT) => return Loss::TimedOut,
        Some(
            Errno::CONNREFUSED
            | Errno::HOSTDOWN
            | Errno::HOSTUNREACH
            | Errno::NETDOWN
            | Errno::NETUNREACH
            | Errno::NONET
            | Errno::NOPROTOOPT,
        ) => return Loss::Unreachable,
        _ => {}
    }
    // An error of TLS, or of a stream without a socket, has no number.
    match error.kind() {
        ErrorKind::UnexpectedEof => Loss::Fin,
        ErrorKind::TimedOut => Loss::TimedOut,
        _ => Loss::Reset,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_kernel_or_of_tls_says_how_the_connection_ended() {
        let kernel = |errno: Errno| loss(&io::Error::from(errno));
        for errno in [Errno::CONNRESET, Errno::PIPE, Errno::CONNABORTED, Errno::IO] {
            assert_eq!(kernel(errno), Loss::Reset, "{errno}");
        }
        for errno in [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::HOSTDOWN, Errno::CONNREFUSED, Errno::NOPROTOOPT] {
            assert_eq!(kernel(errno), Loss::Unreachable, "{errno}");
        }
        assert_eq!(kernel(Errno::TIMEDOUT), Loss::TimedOut);
        assert_eq!(loss(&ErrorKind::UnexpectedEof.into()), Loss::Fin);
        assert_eq!(loss(&io::Error::new(ErrorKind::InvalidData, "a record that cannot be decrypted")), Loss::Reset);
    }
}
