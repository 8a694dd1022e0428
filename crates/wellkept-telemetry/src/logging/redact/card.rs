//! Card numbers: their length, their issuer and their check digit (ISO/IEC 7812-1).

use std::ops::Range;

const FEWEST: usize = 13;
const MOST: usize = 19;

/// The card number whose first digit stands at `start`, when it is the first of a group of digits there.
pub(super) fn card(text: &[u8], start: usize) -> Option<Range<usize>> {
    // Digits after a point are those of a fraction.
    if matches!(text[..start], [.., b'0'..=b'9'] | [.., b'0'..=b'9', b'.']) {
        return None;
    }
    let mut digits = [0; MOST];
    let (mut count, mut index) = (0, start);
    let mut found = None;
    while let Some(byte @ b'0'..=b'9') = text.get(index) {
        *digits.get_mut(count)? = byte - b'0';
        count += 1;
        index += 1;
        match text.get(index..) {
            Some([b'0'..=b'9', ..]) => {}
            Some([b' ' | b'-', b'0'..=b'9', ..]) => {
                found = is_number(&digits[..count]).then_some(start..index).or(found);
                if count == MOST {
                    break;
                }
                index += 1;
            }
            _ => return is_number(&digits[..count]).then_some(start..index).or(found),
        }
        if count == MOST {
            // A longer run of digits is no card number, but a shorter one before a blank may have been.
            break;
        }
    }
    found
}

/// Whether a number's own digits are a card number.
pub(in super::super) fn is_card(number: u128) -> bool {
    if !(1_000_000_000_000..10_000_000_000_000_000_000).contains(&number) {
        return false;
    }
    let mut buffer = itoa::Buffer::new();
    let mut digits = [0; MOST];
    let text = buffer.format(number).as_bytes();
    digits.iter_mut().zip(text).for_each(|(digit, byte)| *digit = byte - b'0');
    digits.get(..text.len()).is_some_and(is_number)
}

fn is_number(digits: &[u8]) -> bool {
    (FEWEST..=MOST).contains(&digits.len()) && has_issuer(digits) && has_check_digit(digits)
}

/// Whether a card of this length begins so.
fn has_issuer(digits: &[u8]) -> bool {
    let begin = digits.iter().take(4).fold(0_u16, |sum, digit| sum * 10 + u16::from(*digit));
    match begin {
        // Visa.
        4000..=4999 => matches!(digits.len(), 13 | 16 | 19),
        // Mastercard.
        5100..=5599 | 2221..=2720 => digits.len() == 16,
        // American Express.
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        // Diners Club.
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => digits.len() >= 14,
        // JCB, Mir, RuPay and others of sixteen digits or more.
        3528..=3589 | 2200..=2204 | 8100..=8171 => digits.len() >= 16,
        // Maestro, Discover, UnionPay.
        5000..=5099 | 5600..=6999 => true,
        _ => false,
    }
}

/// Luhn's sum.
fn has_check_digit(digits: &[u8]) -> bool {
    let doubled = |digit: u8| if digit > 4 { digit * 2 - 9 } else { digit * 2 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| u32::from(if place % 2 == 1 { doubled(digit) } else { digit }))
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Numbers that the issuers publish for tests.
    const CARDS: [&str; 9] = [
        "4111111111111111",
        "4222222222222",
        "5555555555554444",
        "2223003122003222",
        "378282246310005",
        "30569309025904",
        "6011111111111117",
        "3530111333300000",
        "6759649826438453",
    ];

    #[test]
    fn numbers_that_issuers_give_for_tests_are_found_in_every_spelling() {
        for number in CARDS {
            assert!(is_card(number.parse().unwrap()), "{number}");
            for separator in ["", " ", "-"] {
                let groups: Vec<&str> =
                    number.as_bytes().chunks(4).map(|group| std::str::from_utf8(group).unwrap()).collect();
                let text = format!("pay {} now", groups.join(separator));
                assert_eq!(card(text.as_bytes(), 4), Some(4..text.len() - 4), "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_card_is_left_alone() {
        for text in [
            "4111111111111112",
            "1768473000123",
            "1768473000123456789",
            "0000000000000000",
            "9999999999999995",
            "41111111111111111111111",
            "4111  1111 1111 1111",
            "4111.1111.1111.1111",
            "411111111111",
        ] {
            assert_eq!(card(text.as_bytes(), 0), None, "{text}");
        }
        assert_eq!(card(b"0.4111111111111111", 2), None, "a fraction");
        assert!(!is_card(1_768_473_000_123) && !is_card(u128::MAX) && !is_card(0));
    }

    #[test]
    fn a_card_is_found_between_other_numbers() {
        assert_eq!(card(b"4111 1111 1111 1111 12 2030", 0), Some(0..19));
        assert_eq!(card(b"4111111111111111 4111111111111111", 0), Some(0..16));
        assert_eq!(card(b"4111111111111111-", 0), Some(0..16));
    }

    proptest! {
        #[test]
        fn any_text_of_digits_is_survived(text in "[0-9 .-]{0,60}", start in 0_usize..60) {
            if start < text.len() {
                card(text.as_bytes(), start);
            }
        }

        #[test]
        fn one_digit_changed_is_no_card_any_more(which in 0..CARDS.len(), place in 0_usize..19, by in 1_u8..10) {
            let mut digits = CARDS[which].as_bytes().to_vec();
            let place = place % digits.len();
            digits[place] = b'0' + (digits[place] - b'0' + by) % 10;
            prop_assert_eq!(card(&digits, 0), None);
        }
    }
}
