-- Store a new process, unless a live one has its business key, or it is there already, live or finished meanwhile.
-- KEYS[1]  hash        the process: its fields are ARGV[12…]
-- KEYS[2]  sorted set  "<process>|<step>" -> deadline, epoch ms
-- KEYS[3]  list        the process's log
-- KEYS[4]  hash        business key -> live process
-- KEYS[5]  sorted set  entries of the lists of processes
-- KEYS[6]  set         process types
-- KEYS[7]  sorted set  process of whose log something is to be relayed -> when, epoch ms
-- KEYS[8]  hash        "<type digest><name>\n<step>" -> total
-- ARGV[1]  process     ARGV[2]  business key     ARGV[3]  process that may be replaced as the live one, or ""
-- ARGV[4]  process type                          ARGV[5]  log entry
-- ARGV[6], ARGV[7], ARGV[8]  the process's entries in the lists
-- ARGV[9]  the field of the total that goes up by one
-- ARGV[10] "1": what is logged is to be relayed, or ""
-- ARGV[11] number of deadlines
-- ARGV[12…] for each deadline its member and epoch ms; then fields and values of the process
-- Returns  {1, now in ms, live process}: this process if it was stored, now or by an earlier try of the same call

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local live = redis.call('HGET', KEYS[4], ARGV[2])
if live and live ~= ARGV[3] then
  return {1, now, live}
end
if redis.call('HEXISTS', KEYS[1], 'state') == 1 then
  return {1, now, ARGV[1]}
end

-- Reads of every key that may be written: a key of a wrong type is an error here, before the first write.
redis.call('HLEN', KEYS[1])
redis.call('ZCARD', KEYS[2])
redis.call('LLEN', KEYS[3])
redis.call('ZCARD', KEYS[5])
redis.call('SCARD', KEYS[6])
redis.call('ZCARD', KEYS[7])
redis.call('HLEN', KEYS[8])

-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('HSET', KEYS[1], '', '') and may('ZADD', KEYS[2], 0, '') and may('RPUSH', KEYS[3], '')
  and may('SADD', KEYS[6], '') and may('HINCRBY', KEYS[8], '', 1)) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

local first_field = 12 + 2 * ARGV[11]
for i = 12, first_field - 1, 2 do
  redis.call('ZADD', KEYS[2], ARGV[i + 1], ARGV[i])
end
for i = first_field, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
end
redis.call('RPUSH', KEYS[3], ARGV[5])
redis.call('ZADD', KEYS[5], 0, ARGV[6], 0, ARGV[7], 0, ARGV[8])
redis.call('SADD', KEYS[6], ARGV[4])
if ARGV[10] == '1' then
  redis.call('ZADD', KEYS[7], 'NX', now, ARGV[1])
end
redis.call('HSET', KEYS[4], ARGV[2], ARGV[1])
redis.call('HINCRBY', KEYS[8], ARGV[9], 1)
return {1, now, ARGV[1]}
