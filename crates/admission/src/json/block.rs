//! Sixteen bytes of a text looked at all at once, without a branch for each: most strings end within one such block.

use wide::u8x16;

pub(super) const LENGTH: usize = 16;

pub(super) type Block = [u8; LENGTH];

/// Where the first quote, backslash or control character is; [`LENGTH`]: nowhere.
#[inline]
pub(super) fn special(block: &Block) -> usize {
    let bytes = u8x16::new(*block);
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    let controls = bytes.simd_eq(bytes.min(u8x16::splat(0x1f)));
    let found = (quotes | backslashes | controls).to_bitmask();
    (found | 1 << LENGTH).trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_special_byte_is_found_wherever_it_is() {
        for filling in [b'x', b' ', b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
            for byte in 0..=u8::MAX {
                for place in 0..LENGTH {
                    let mut block = [filling; LENGTH];
                    block[place] = byte;
                    let expected = if matches!(byte, b'"' | b'\\' | 0..0x20) { place } else { LENGTH };
                    assert_eq!(special(&block), expected, "{block:?}");
                    block[place..].fill(byte);
                    assert_eq!(special(&block), expected, "{block:?}");
                }
            }
        }
    }
}
