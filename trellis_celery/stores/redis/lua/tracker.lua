-- Write a step's tracker if nobody wrote it since; all of it, or nothing.
-- KEYS[1]  hash        step -> "<version> <token> <attempt> <record>"
-- KEYS[2]  sorted set  "<process>|<step>" -> deadline, epoch ms
-- KEYS[3]  sorted set  "<process>|<attempt>|<step>" -> end of lease, epoch ms
-- KEYS[4]  list        the log of the process's steps
-- KEYS[5]  hash        step -> stored message
-- KEYS[6]  hash        step -> when its copy is due, epoch ms
-- KEYS[7]  sorted set  process -> when the first of its copies is due, epoch ms
-- ARGV[1]  process     ARGV[2]  step          ARGV[3]  expected version, or "" for no tracker
-- ARGV[4]  version     ARGV[5]  token of this write                         ARGV[6]  attempt
-- ARGV[7]  record      ARGV[8]  deadline, epoch ms, or ""
-- ARGV[9]  lease member or ""                 ARGV[10] end of a new lease, epoch ms; one that stands is left alone
-- ARGV[11] "drop" or "store" the message      ARGV[12] message
-- ARGV[13] when the copy is due, epoch ms, or ""
-- ARGV[14…] log entries
-- Returns  {1, now in ms} if it was written, now or by an earlier try of the same call  |  {0, now in ms}

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local current = redis.call('HGET', KEYS[1], ARGV[2])
local version, token, attempt = '', '', ''
if current then
  version, token, attempt = string.match(current, '^(%d+) (%x+) (%d+) ')
  if version == ARGV[4] and token == ARGV[5] then
    return {1, now}
  end
end
if version ~= ARGV[3] then
  return {0, now}
end

-- Reads of every key that may be written: a key of a wrong type is an error here, before the first write.
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('LLEN', KEYS[4])
redis.call('HLEN', KEYS[5])
redis.call('HLEN', KEYS[6])
redis.call('ZCARD', KEYS[7])

local due = ARGV[1] .. '|' .. ARGV[2]
local old_lease = ARGV[1] .. '|' .. attempt .. '|' .. ARGV[2]
-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('HSET', KEYS[1], '', '') and may('HDEL', KEYS[5], '') and may('ZADD', KEYS[2], 0, '')
  and may('ZREM', KEYS[2], '') and may('RPUSH', KEYS[4], '')) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

if ARGV[8] ~= '' then
  redis.call('ZADD', KEYS[2], ARGV[8], due)
end
if ARGV[9] ~= '' then
  redis.call('ZADD', KEYS[3], 'NX', ARGV[10], ARGV[9])
end
if ARGV[11] == 'store' then
  redis.call('HSET', KEYS[5], ARGV[2], ARGV[12])
end
if ARGV[13] ~= '' then
  redis.call('HSET', KEYS[6], ARGV[2], ARGV[13])
  redis.call('ZADD', KEYS[7], 'LT', ARGV[13], ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[4] .. ' ' .. ARGV[5] .. ' ' .. ARGV[6] .. ' ' .. ARGV[7])
for i = 14, #ARGV do
  redis.call('RPUSH', KEYS[4], ARGV[i])
end
if ARGV[8] == '' then
  redis.call('ZREM', KEYS[2], due)
end
if old_lease ~= ARGV[9] then
  redis.call('ZREM', KEYS[3], old_lease)
end
if ARGV[11] == 'drop' then
  redis.call('HDEL', KEYS[5], ARGV[2])
end
if ARGV[13] == '' then
  redis.call('HDEL', KEYS[6], ARGV[2])
  if redis.call('HLEN', KEYS[6]) == 0 then
    redis.call('ZREM', KEYS[7], ARGV[1])
  end
end
return {1, now}
