// Requests to the page's own server.

async function answer(response) {
  if (response.ok) return response;
  let message = `The server answered ${response.status}`;
  try { message = (await response.json()).error || message; } catch { /* not JSON */ }
  throw new Error(message);
}

export function address(path, values = {}) {
  const query = new URLSearchParams(values).toString();
  return query ? `/api/${path}?${query}` : `/api/${path}`;
}

export async function getJson(path, values) {
  return (await answer(await fetch(address(path, values)))).json();
}

export async function getBytes(path, values) {
  return (await answer(await fetch(address(path, values)))).arrayBuffer();
}

export async function post(path, content) {
  const response = await fetch(address(path), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
  return (await answer(response)).json();
}

// Thumbnails and pictures are asked for by the exposure's name; the version makes a browser ask
// again after the exposure was processed anew.
export function pictureAddress(name, picture, version) {
  return address("picture", { name, picture, v: version });
}
