//! Where everything is in the drawn picture: computed from the names and their order alone, so that the same
//! state looks the same again.
//!
//! ```text
//!   ports and uplinks      bridges and masters      containers
//!   ┌──────┐ │             ┌────────┐               ┌─────────────┐
//!   │ eth0 ├─┼─────────────┤ front0 ├───────────────┤ web         │
//!   └──────┘ │             │        │               └─────────────┘
//!   ┌──────┐ │             │        │               ┌─────────────┐
//!   │ 8080 ├─┼─────────────┤        ├───────────────┤ api         │
//!   └──────┘ │             └────────┘               └─────────────┘
//!            │             ┌────────┐               ┌─────────────┐
//!            └─────────────┤ back0  ├───────────────┤ db          │
//!                          └────────┘               └─────────────┘
//! ```
//!
//! A bridge is as high as all that is attached to it, and a port stands on the line of its container. So no
//! line crosses a box, however many there are.

use super::model::{Device, Graph};

/// All measures are in pixels.
pub(super) const WIDTH: u32 = 1040;
/// Left edge and width of each column.
pub(super) const LEFT: (u32, u32) = (16, 220);
pub(super) const MIDDLE: (u32, u32) = (316, 270);
pub(super) const RIGHT: (u32, u32) = (666, 358);
/// The height of a box with one line.
pub(super) const BOX: u32 = 26;
/// The height of a line of text in a bridge.
pub(super) const LINE: u32 = 17;
/// From one row to the next.
const ROW: u32 = 32;
/// Between two bridges.
const GAP: u32 = 18;
/// The first row.
const TOP: u32 = 64;
/// Between the lines that go down from two uplinks.
const TRUNKS: u32 = 10;

/// A box, by the place of what it shows in the [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) y: u32,
    pub(super) height: u32,
}

/// The places of a bridge, and of what is attached to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Band {
    pub(super) device: Placed,
    /// In the order of [`Device::attached`].
    pub(super) attached: Vec<Placed>,
    /// For each of these, the places of its ports.
    pub(super) ports: Vec<Vec<Placed>>,
}

/// Where everything is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) height: u32,
    pub(super) uplinks: Vec<Placed>,
    pub(super) bands: Vec<Band>,
}

impl Placed {
    /// Where lines begin and end.
    pub(super) fn middle(self) -> u32 {
        self.y + self.height / 2
    }
}

impl Layout {
    pub(super) fn of(graph: &Graph) -> Self {
        let rows = (0..).map(|row| Placed { y: TOP + row * ROW, height: BOX });
        let uplinks: Vec<Placed> = rows.take(graph.uplinks.len()).collect();
        let mut y = TOP;
        if let Some(last) = uplinks.last() {
            y = last.y + ROW;
            y += GAP - (ROW - BOX);
        }
        let mut bands = Vec::new();
        for device in &graph.devices {
            let band = Band::of(device, y);
            y = band.device.y + band.device.height + GAP;
            bands.push(band);
        }
        Self { height: y, uplinks, bands }
    }

    /// Where the line from the uplink of that number goes down.
    pub(super) fn trunk(number: usize) -> u32 {
        // More than fit share the last place.
        let number = u32::try_from(number).unwrap_or(u32::MAX).min(6);
        LEFT.0 + LEFT.1 + 14 + number * TRUNKS
    }
}

impl Band {
    fn of(device: &Device, top: u32) -> Self {
        let mut y = top;
        let (mut attached, mut ports) = (Vec::new(), Vec::new());
        for end in &device.attached {
            let rows = (0..).map(|row| Placed { y: y + row * ROW, height: BOX });
            let of_end: Vec<Placed> = rows.take(end.ports.len()).collect();
            let next = of_end.last().map_or(y, |last| last.y) + ROW;
            attached.push(Placed { y, height: next - y - (ROW - BOX) });
            ports.push(of_end);
            y = next;
        }
        let own = u32::try_from(lines(device).len()).unwrap_or(u32::MAX).saturating_mul(LINE) + 10;
        let height = (y.saturating_sub(ROW - BOX).saturating_sub(top)).max(own);
        Self { device: Placed { y: top, height }, attached, ports }
    }
}

/// What stands in the box of a bridge, a line each.
pub(super) fn lines(device: &Device) -> Vec<String> {
    /// More networks share a line: their names are in the tooltip.
    const MOST: usize = 3;
    let mut lines = vec![device.title()];
    let kind = if device.internal { "internal, " } else { "" };
    lines.push(format!("{kind}{}", device.kind));
    for (what, all) in [("network ", &device.networks), ("", &device.pools)] {
        lines.extend(all.iter().take(MOST).map(|it| format!("{what}{it}")));
        if all.len() > MOST {
            lines.push(format!("and {} more", all.len() - MOST));
        }
    }
    lines
}
