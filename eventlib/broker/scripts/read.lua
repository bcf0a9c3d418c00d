-- Read what is there, one entry at a time, until it is enough. XREADGROUP itself cannot limit the bytes of a reply: a
-- consumer's first read, when it does not know yet how large entries are, comes through here.
-- KEYS  stream, retry     ARGV  group, consumer, count, bytes
-- Returns {1 for stream or 2 for retry, id, fields and values} for each entry, up to count of each source. The last one
-- may exceed the bytes.
local group, consumer, count, bytes = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
redis.call('XPENDING', KEYS[1], group, '-', '+', 1) -- fails, before anything is read, if the group is missing
local read, size = {}, 0
for _, source in ipairs({2, 1}) do
  local read_one = {'XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', KEYS[source], '>'}
  for _ = 1, count do
    local reply = size < bytes and redis.call(unpack(read_one))
    if not reply then break end
    local entry = reply[1][2][1]
    for _, part in ipairs(entry[2] or {}) do size = size + #part end
    read[#read + 1] = {source, entry[1], entry[2]}
  end
end
return read
