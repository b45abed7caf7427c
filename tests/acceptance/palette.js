/**
 * Packs a screenshot for the README: a PNG of at most 256 colours, a third as heavy, done by the browser itself.
 * Takes and gives base64. The most frequent colours are kept; any other becomes the nearest of them.
 */
async (base64) => {
  const COLOURS = 256;
  const parts = (colour) => [colour & 255, (colour >> 8) & 255, (colour >> 16) & 255];

  function paletteOf(pixels) {
    const counts = new Map();
    for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
    const sorted = [...counts].sort((a, b) => b[1] - a[1]).map(([colour]) => colour);
    const kept = sorted.slice(0, COLOURS).map(parts);
    const nearest = ([r, g, b]) => {
      const distances = kept.map((one) => (one[0] - r) ** 2 + (one[1] - g) ** 2 + (one[2] - b) ** 2);
      return distances.indexOf(Math.min(...distances));
    };
    return { kept, places: new Map(sorted.map((colour, at) => [colour, at < COLOURS ? at : nearest(parts(colour))])) };
  }

  function crc(bytes) {
    let sum = ~0;
    for (const byte of bytes) {
      sum ^= byte;
      for (let bit = 0; bit < 8; bit += 1) sum = (sum >>> 1) ^ (0xedb88320 & -(sum & 1));
    }
    return ~sum;
  }

  function chunk(name, content) {
    const bytes = new Uint8Array(content.length + 12);
    const view = new DataView(bytes.buffer);
    view.setUint32(0, content.length);
    bytes.set(new TextEncoder().encode(name), 4);
    bytes.set(content, 8);
    view.setInt32(content.length + 8, crc(bytes.subarray(4, content.length + 8)));
    return bytes;
  }

  const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob());
  const { width, height } = picture;
  const canvas = new OffscreenCanvas(width, height).getContext("2d");
  canvas.drawImage(picture, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, width, height).data.buffer);
  const { kept, places } = paletteOf(pixels);

  const rows = new Uint8Array((width + 1) * height); // each row begins with its filter: none
  pixels.forEach((pixel, at) => { rows[at + Math.floor(at / width) + 1] = places.get(pixel); });
  const packed = new Response(new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate")));

  const head = new DataView(new ArrayBuffer(13));
  head.setUint32(0, width);
  head.setUint32(4, height);
  head.setUint16(8, 0x0803); // eight bits, by palette
  const png = new Blob([
    new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]),
    chunk("IHDR", new Uint8Array(head.buffer)),
    chunk("PLTE", new Uint8Array(kept.flat())),
    chunk("IDAT", new Uint8Array(await packed.arrayBuffer())),
    chunk("IEND", new Uint8Array(0)),
  ]);
  return btoa(Array.from(new Uint8Array(await png.arrayBuffer()), (byte) => String.fromCharCode(byte)).join(""));
}
