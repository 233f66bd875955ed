// The coordinates in DEVICE_INFO.GEOGRAPHIC_LOCATION, if there are any. Pure.

/** {latitude, longitude} of "40.4, -3.7", "{'lat': 40.4, 'lon': -3.7}" or "POINT(-3.7 40.4)". */
export function coordinates(text) {
  const numbers = (text || "").match(/-?\d+(?:\.\d+)?/g);
  if (!numbers || numbers.length !== 2) return null;
  let [latitude, longitude] = numbers.map(Number);
  if (/point|lon\w*\W+-?[\d.]+.*lat/i.test(text)) [latitude, longitude] = [longitude, latitude];
  const words = text.replace(/lat(itude)?|lon(g|gitude)?|point|[\d\s.,;:°'"{}()[\]+-]/gi, "");
  if (words || Math.abs(latitude) > 90 || Math.abs(longitude) > 180) return null;
  return { latitude, longitude };
}

export function placeOf(runtime) {
  return coordinates((runtime.DEVICE_INFO || {}).GEOGRAPHIC_LOCATION);
}

/** Runtimes that are within the same cell of a grid: [{cell, latitude, longitude, runtimes}]. */
export function clusters(runtimes, cellDegrees = 3) {
  const found = new Map();
  for (const runtime of runtimes) {
    const at = placeOf(runtime);
    if (!at) continue;
    const cell = `${Math.round(at.latitude / cellDegrees)}/${Math.round(at.longitude / cellDegrees)}`;
    if (!found.has(cell)) found.set(cell, { cell, ...at, runtimes: [] });
    found.get(cell).runtimes.push(runtime);
  }
  return [...found.values()];
}
