//! The header of a frame is read as tungstenite reads it. A control frame is written as it was read.

use std::io::Cursor;

use longwire::ws::frame::{Breach, ControlFrame, FrameHeader, MAX_CONTROL_FRAME, MAX_HEADER};
use tokio_tungstenite::tungstenite::protocol::frame::{FrameHeader as Theirs, coding::OpCode as TheirCode};

/// `bytes` are the begin of a frame.
pub fn check(bytes: &[u8]) {
    let read = FrameHeader::parse(bytes);
    match read {
        Ok(Some((header, size))) => check_header(bytes, header, size),
        Ok(None) => assert!(bytes.len() < MAX_HEADER, "a whole header is not seen"),
        Err(breach) => check_breach(bytes, breach),
    }
    // If the begin of these bytes gives a result, all of them give the same one: further bytes never change a result.
    for cut in 0..bytes.len().min(MAX_HEADER) {
        match FrameHeader::parse(&bytes[..cut]) {
            Ok(None) => {}
            told => assert_eq!(told, read, "after {cut} bytes"),
        }
    }
}

fn check_header(bytes: &[u8], header: FrameHeader, size: usize) {
    let mut cursor = Cursor::new(bytes);
    let (theirs, length) =
        Theirs::parse(&mut cursor).expect("tungstenite reads it").expect("tungstenite sees it whole");
    assert_eq!((header.length, size as u64), (length, cursor.position()));
    assert_eq!((header.fin, header.mask), (theirs.is_final, theirs.mask));
    assert_eq!(header.rsv, u8::from(theirs.rsv1) << 2 | u8::from(theirs.rsv2) << 1 | u8::from(theirs.rsv3));
    assert_eq!(matches!(theirs.opcode, TheirCode::Control(_)), header.opcode.is_control());
    assert!(!header.opcode.is_control() || (header.fin && header.length <= 125), "no control frame: {header:?}");
    let payload = &bytes[size..];
    if header.opcode.is_control() && header.rsv == 0 && payload.len() as u64 >= header.length {
        let payload = &payload[..usize::try_from(header.length).expect("125 at most")];
        check_control(&bytes[..size + payload.len()], header, payload);
    }
}

fn check_control(wire: &[u8], header: FrameHeader, payload: &[u8]) {
    let frame = ControlFrame::read(&header, payload);
    let key = header.mask.unwrap_or_default();
    assert!(
        frame
            .payload()
            .iter()
            .zip(payload)
            .zip(key.iter().cycle())
            .all(|((plain, masked), key)| plain ^ key == *masked)
    );
    let mut written = Vec::new();
    frame.encode(header.mask, &mut written);
    assert_eq!(written, wire, "written as it was read");
    assert!(written.len() <= MAX_CONTROL_FRAME);
}

/// Checks the bits of RFC 6455 §5.2 directly, because tungstenite checks some of them only later.
fn check_breach(bytes: &[u8], breach: Breach) {
    let (control, short) = (bytes[0] & 0x08 != 0, bytes[1] & 0x7F);
    let right = match breach {
        Breach::ReservedOpcode => matches!(bytes[0] & 0x0F, 0x3..=0x7 | 0xB..=0xF),
        Breach::LongControl => control && short > 125,
        Breach::FragmentedControl => control && bytes[0] & 0x80 == 0,
        Breach::LengthTopBit => short == 127 && bytes[2] & 0x80 != 0,
        _ => false,
    };
    assert!(right, "{breach} in {bytes:x?}");
}
