-- For wrk: what `bench.soak` asks, in turn. Most are small or a browser's; a hundredth each of the others.

local browser = {
  ["Host"] = "www.example.org", ["Connection"] = "keep-alive", ["Cache-Control"] = "max-age=0",
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Accept-Encoding"] = "gzip, deflate, br", ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
  ["Cookie"] = "session=0123456789abcdef; theme=dark; seen=1,2,3", ["Referer"] = "https://www.example.org/from",
  ["Sec-Fetch-Dest"] = "document", ["Sec-Fetch-Mode"] = "navigate", ["Upgrade-Insecure-Requests"] = "1",
}
local chunked = { ["Transfer-Encoding"] = "chunked" }
local ready, at = {}, 0

function init(args)
  local rare = {
    wrk.format("POST", "/post", nil, string.rep("a", 100)), wrk.format("POST", "/post", nil, string.rep("b", 10000)),
    wrk.format("POST", "/post", chunked, nil) .. "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 1\r\n\r\n",
    wrk.format("GET", "/large"), wrk.format("GET", "/stream"), wrk.format("GET", "/wait?a=1"),
    wrk.format("GET", "/fail"), wrk.format("GET", "/none"), wrk.format("OPTIONS", "/none"), -- wrk knows no HEAD
    wrk.format("POST", "/none", nil, string.rep("c", 2000)),
  }
  for i = 1, 100 do
    if i % 10 == 0 then
      ready[i] = rare[i / 10]
    elseif i % 3 == 0 then
      ready[i] = wrk.format("GET", "/browser?page=" .. i .. "&q=a%20b", browser)
    else
      ready[i] = wrk.format("GET", "/small")
    end
  end
end

function request()
  at = at % #ready + 1
  return ready[at]
end
